"""Certificates for tests: an authority, and broker and client certificates, also expired ones or for other hosts.

Made with the `cryptography` package. Everything is PEM in files, as librdkafka and Kafka both take it.
"""
import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = [x509.DNSName("localhost"), x509.DNSName("127.0.0.1"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
DAY = dt.timedelta(days=1)


def name_of(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    """An authority of its own, in a folder."""

    def __init__(self, folder, common_name):
        self.folder, self.name = folder, name_of(common_name)
        self.key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(self.name, self.key.public_key(), 30 * DAY, [
            (x509.BasicConstraints(ca=True, path_length=None), True)])
        self.file = folder / f"{common_name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject, public_key, valid, extensions):
        begin = dt.datetime.now(dt.UTC) - 10 * DAY
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public_key)
                   .serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(begin + 10 * DAY + valid))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, common_name, *, names=HERE, valid=DAY, password=None):
        """Gives the files of a key and its certificate; a negative `valid` is a time since it expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name_of(common_name), key.public_key(), valid, [(x509.SubjectAlternativeName(names), False)])
        encryption = (serialization.BestAvailableEncryption(password.encode()) if password
                      else serialization.NoEncryption())
        key_file, file = self.folder / f"{common_name}.key", self.folder / f"{common_name}.crt"
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return key_file, file

    def issue_store(self, common_name, **more):
        """The same as one file, which Kafka calls a key store of type PEM."""
        key_file, file = self.issue(common_name, **more)
        store = self.folder / f"{common_name}.store.pem"
        store.write_bytes(key_file.read_bytes() + file.read_bytes())
        return store
