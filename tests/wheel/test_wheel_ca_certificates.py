"""CA certificates: a wheel finds those of each family of systems, for Kafka and for HTTPS (OIDC).

As root on Linux: each row has a mount namespace of its own, in which /etc is a small one of that family. The wheel is
the one that KAFKAPP_WHEEL names, unpacked; its OpenSSL is linked in and knows nobody's places.
"""
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PLACES = {
    "Debian, Ubuntu, Arch": "/etc/ssl/certs/ca-certificates.crt",
    "Red Hat 7 to 10": "/etc/pki/tls/certs/ca-bundle.crt",
    "Fedora from 43 on": "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "SUSE": "/etc/ssl/ca-bundle.pem",
    "Alpine, macOS": "/etc/ssl/cert.pem",
    "Red Hat's other name": "/etc/ssl/certs/ca-bundle.crt",
}
INSIDE = r'''
import os, queue, shutil, socket, ssl, subprocess, sys, threading
folder, wheel, place, authority, protocol = sys.argv[1:]
for name in ('hosts', 'nsswitch.conf', 'passwd', 'group', 'services', 'ld.so.cache', 'ld.so.conf', 'localtime'):
    if os.path.exists(f"/etc/{name}"):
        shutil.copy(f"/etc/{name}", f"{folder}/kept-{name}")
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/etc"], check=True)
for name in os.listdir(folder):
    if name.startswith("kept-"):
        shutil.copy(f"{folder}/{name}", f"/etc/{name[5:]}")
if place:
    os.makedirs(os.path.dirname(place))
    shutil.copy(f"{folder}/{authority}.pem", place)
sys.path.insert(0, wheel)
import kafkapp
assert kafkapp.__file__.startswith(wheel)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{folder}/server.pem", f"{folder}/server.key")
outcome = queue.Queue()

def serve(listener):
    while True:
        connection, _ = listener.accept()
        try:
            with context.wrap_socket(connection, server_side=True) as wrapped:
                outcome.put("trusted" if wrapped.recv(4) else "refused: closed")
        except OSError as error:
            outcome.put(f"refused: {error}")

listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=[listener], daemon=True).start()
port = listener.getsockname()[1]
properties = {"kafka": {"bootstrap.servers": f"localhost:{port}", "security.protocol": "ssl"},
              "https": {"bootstrap.servers": "localhost:1", "security.protocol": "sasl_plaintext", "sasl.mechanisms": "OAUTHBEARER",
                        "sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.client.id": "x", "sasl.oauthbearer.client.secret": "x",
                        "sasl.oauthbearer.token.endpoint.url": f"https://localhost:{port}/token"}}[protocol]
producer = kafkapp.KafkaAsyncProducer({**properties, "log_cb": lambda *log: None, "error_cb": lambda error: None})
print(outcome.get(timeout=60), flush=True)
os._exit(0)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The unpacked wheel, a server's certificate that is its own authority, and another's."""
    if not os.environ.get("KAFKAPP_WHEEL"):
        pytest.skip("KAFKAPP_WHEEL names no wheel")
    if not sys.platform.startswith("linux") or os.geteuid():
        pytest.skip("needs root on Linux")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        assert not os.environ.get("CI"), "CI has mount namespaces"
        pytest.skip("no mount namespaces here")
    folder = tmp_path_factory.mktemp("authorities")
    with zipfile.ZipFile(os.environ["KAFKAPP_WHEEL"]) as wheel:
        wheel.extractall(folder / "wheel")
    for name in ("server", "other"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / f"{name}.key", "-out",
                        folder / f"{name}.pem", "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                       check=True, capture_output=True)
    return folder


def judged(folder, protocol, place, authority="server", **environment):
    """What the server of a machine with that one authority at that place sees."""
    mine = {name: value for name, value in os.environ.items() if name not in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    done = subprocess.run(["unshare", "-m", sys.executable, "-c", INSIDE, folder, folder / "wheel", place, authority, protocol],
                          env={**mine, **environment}, text=True, capture_output=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition(":")[0].strip()


@pytest.mark.parametrize("protocol", ["kafka", "https"])
@pytest.mark.parametrize("family", PLACES)
def test_the_machines_authorities_are_found(folder, family, protocol):
    assert judged(folder, protocol, PLACES[family]) == "trusted"


@pytest.mark.parametrize("protocol", ["kafka", "https"])
@pytest.mark.parametrize("place", ["/etc/ssl/cert.pem", "/etc/pki/tls/certs/ca-bundle.crt", ""])
def test_a_server_of_another_authority_is_refused(folder, place, protocol):
    assert judged(folder, protocol, place, "other") == "refused"


@pytest.mark.parametrize("protocol", ["kafka", "https"])
def test_what_the_environment_names_goes_before_what_is_found(folder, protocol):
    assert judged(folder, protocol, PLACES["SUSE"], "other", SSL_CERT_FILE=str(folder / "server.pem")) == "trusted"
    assert judged(folder, protocol, PLACES["SUSE"], "server", SSL_CERT_FILE=str(folder / "other.pem")) == "refused"


def test_a_folder_of_hashed_names_is_found(folder):
    name = subprocess.run(["openssl", "x509", "-hash", "-noout", "-in", folder / "server.pem"], text=True, capture_output=True,
                          check=True).stdout.strip()
    assert judged(folder, "kafka", str(Path("/etc/ssl/certs", f"{name}.0"))) == "trusted"
