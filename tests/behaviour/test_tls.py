"""TLS of the bundled librdkafka against Python's: a trusted certificate, and an untrusted one."""
import queue
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

import kafkapp

pytestmark = [
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command, to make a certificate"),
    pytest.mark.skipif("ssl" not in kafkapp.librdkafka_features(), reason="this librdkafka has no TLS"),
]


@pytest.fixture
def server(tmp_path):
    """(address, certificate, queue): what came of each handshake, and the first bytes that the client sent."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
                    "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    seen = queue.Queue()

    def serve(listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as wrapped:
                    seen.put((wrapped.version(), wrapped.recv(4)))
            except OSError as error:
                seen.put((getattr(error, "reason", None), b""))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=[listener], daemon=True).start()
        yield f"localhost:{listener.getsockname()[1]}", certificate, seen
        listener.shutdown(socket.SHUT_RDWR)


def producer(address, **properties):
    return kafkapp.KafkaAsyncProducer({
        "bootstrap.servers": address, "security.protocol": "ssl", "log_cb": lambda *log: None,
        "error_cb": lambda error: None,
        **{name if name.endswith("_cb") else name.replace("_", "."): value for name, value in properties.items()}})


def test_a_trusted_certificate_is_taken_with_tls_1_3_and_the_request_comes_through(server):
    address, certificate, seen = server
    client = producer(address, ssl_ca_location=str(certificate))
    version, request = seen.get(timeout=20)
    client.close(0)
    assert version == "TLSv1.3"
    assert len(request) == 4 and 10 < int.from_bytes(request, "big") < 200      # the length of an ApiVersions request


def test_a_certificate_that_nobody_vouches_for_is_refused(server):
    address, _, seen = server
    client = producer(address, ssl_ca_location="probe")
    reason, request = seen.get(timeout=20)
    client.close(0)
    assert "UNKNOWN_CA" in str(reason) and request == b""


def test_the_error_says_why_a_certificate_is_refused(server):
    address, _, seen = server
    errors = queue.Queue()
    client = producer(address, ssl_ca_location="probe", error_cb=errors.put)
    error = errors.get(timeout=20)
    client.close(0)
    assert "verify failed" in error.message
    assert error.message.endswith("signed by itself") or "unknown authority" in error.message


def test_a_certificate_that_is_not_looked_at_is_taken_and_nothing_is_said_of_it(server):
    address, _, seen = server
    logs = []
    client = producer(address, ssl_ca_location="probe", enable_ssl_certificate_verification=False, log_cb=lambda *log: logs.append(log))
    version, request = seen.get(timeout=20)
    client.close(0)
    assert version == "TLSv1.3" and len(request) == 4
    assert not any("verification callback" in str(log) for log in logs)
