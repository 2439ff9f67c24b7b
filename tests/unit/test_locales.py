"""Locales with a decimal comma, set by setlocale: numbers of librdkafka and of kafkapp keep their point."""
import os
import shutil
import subprocess
import sys

import pytest

NAMES = ("de_DE.UTF-8", "fr_FR.UTF-8", "pl_PL.UTF-8")

CODE = r'''
import json, locale, queue, sys, threading
locale.setlocale(locale.LC_ALL, sys.argv[1])
assert locale.localeconv()["decimal_point"] == ","

from kafkapp import KafkaAsyncProducer, KafkaException, KafkaSyncProducer, ProducerRecord
from kafkapp.testing import MockCluster

QUIET = {"bootstrap.servers": "127.0.0.1:1", "log_cb": lambda *log: None, "error_cb": lambda error: None}
VALUES = {0.5: "0.5", "0.5": "0.5", "2.5": "2.5", 0.25: "0.25", 1e-3: "0.001", 7: "7", "1e2": "100", " 1.5 ": "1.5"}


def check():
    for make in (KafkaAsyncProducer, KafkaSyncProducer):
        for name in ("linger.ms", "queue.buffering.max.ms"):
            for value, spelled in VALUES.items():
                producer = make({**QUIET, name: value})
                assert {producer.get_property(n) for n in ("linger.ms", "queue.buffering.max.ms")} == {spelled}, (name, value)
                producer.close(0)
    for value in ("0,5", "1_0", "nan", "1.5ms"):
        try:
            KafkaAsyncProducer({**QUIET, "linger.ms": value})
        except KafkaException as exc:
            assert "linger.ms" in str(exc), exc
        else:
            raise AssertionError(value)
    try:
        KafkaAsyncProducer({**QUIET, "linger.ms": -0.5})
    except KafkaException as exc:
        assert "-0.5 is outside allowed range 0..900000" in str(exc), exc
    else:
        raise AssertionError(-0.5)


failed = []
def guarded():
    try:
        check()
    except BaseException as exc:
        failed.append(repr(exc))

threads = [threading.Thread(target=guarded) for _ in range(4)]
for thread in threads:
    thread.start()
# The thread that makes no producers goes on in its own way meanwhile, and so does a callback's.
for _ in range(1000):
    assert locale.format_string("%.1f", 0.5) == "0,5"
for thread in threads:
    thread.join()
assert not failed, failed
assert locale.localeconv()["decimal_point"] == ","

statistics = queue.Queue()
with MockCluster() as cluster, KafkaAsyncProducer({"bootstrap.servers": cluster.bootstrap_servers, "statistics.interval.ms": 50,
                                                    "stats_cb": lambda text: statistics.put((text, locale.format_string("%.1f", 0.5)))}) as producer:
    producer.send(ProducerRecord("t", value=b"v"))
    text, ours = statistics.get(timeout=20)
    json.loads(text)
    assert ours == "0,5"
print("fine")
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The name of a locale with a decimal comma, and the environment in which it is one."""
    test = "import locale, sys; locale.setlocale(locale.LC_ALL, sys.argv[1]); sys.exit(locale.localeconv()['decimal_point'] != ',')"

    def found(environment):
        return next((name for name in NAMES if subprocess.run([sys.executable, "-c", test, name], env=environment, capture_output=True, timeout=30,
                                                              check=False).returncode == 0), None)

    environment = dict(os.environ)
    if name := found(environment):
        return name, environment
    if shutil.which("localedef") and os.path.exists("/usr/share/i18n/locales/de_DE"):
        environment["LOCPATH"] = str(tmp_path_factory.mktemp("locales"))
        subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", f"{environment['LOCPATH']}/de_DE.UTF-8"], capture_output=True, timeout=60, check=False)
        if name := found(environment):
            return name, environment
    pytest.skip("no locale with a decimal comma, and none can be made (Debian: apt-get install locales)")


def test_numbers_with_a_fraction(place):
    name, environment = place
    done = subprocess.run([sys.executable, "-c", CODE, name], env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


def test_the_command(place, tmp_path):
    """It calls no setlocale, and a library that does changes nothing."""
    name, environment = place
    code = "import locale, sys, runpy; locale.setlocale(locale.LC_ALL, sys.argv.pop(1)); runpy.run_module('kafkapp', run_name='__main__')"
    (tmp_path / "lines").write_bytes(b"a\n")
    done = subprocess.run([sys.executable, "-c", code, name, "produce", "--embedded", "-X", "linger.ms=0.5", "--timeout", "9.5", "--json", str(tmp_path / "lines")],
                          env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0 and '"delivered": 1' in done.stdout, done.stderr


TOKEN = r'''
import base64, json, locale, socket, struct, sys
locale.setlocale(locale.LC_ALL, sys.argv[1])

from kafkapp import KafkaAsyncProducer, KafkaSyncProducer


def read(connection, size):
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        assert more
        data += more
    return data


def request(connection):
    """Of the next request: its correlation id, and all of it."""
    data = read(connection, struct.unpack(">i", read(connection, 4))[0])
    return struct.unpack(">hhi", data[:8])[2], data


def answer(connection, correlation, body):
    body = struct.pack(">i", correlation) + body
    connection.sendall(struct.pack(">i", len(body)) + body)


# ApiVersions, SaslHandshake, SaslAuthenticate, Metadata, Produce: all that a client asks before it shows its token.
APIS = b"".join(struct.pack(">hhhb", *api, 0) for api in [(18, 0, 3), (17, 0, 1), (36, 0, 1), (3, 0, 4), (0, 0, 7)])
for make in (KafkaAsyncProducer, KafkaSyncProducer):
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(20)
    producer = make({"bootstrap.servers": "127.0.0.1:%d" % server.getsockname()[1], "security.protocol": "sasl_plaintext",
                     "sasl.mechanisms": "OAUTHBEARER", "enable.sasl.oauthbearer.unsecure.jwt": True,
                     "sasl.oauthbearer.config": "principal=me", "error_cb": lambda error: None, "log_cb": lambda *log: None})
    connection, _ = server.accept()
    connection.settimeout(20)
    correlation, _ = request(connection)
    answer(connection, correlation, struct.pack(">hb", 0, 6) + APIS + struct.pack(">ib", 0, 0))
    correlation, _ = request(connection)
    answer(connection, correlation, struct.pack(">hih", 0, 1, 11) + b"OAUTHBEARER")
    token = request(connection)[1].partition(b"Bearer ")[2].partition(b"\x01")[0].split(b".")[1]
    claims = json.loads(base64.urlsafe_b64decode(token + b"=" * (-len(token) % 4)))
    assert claims["sub"] == "me" and claims["exp"] > claims["iat"] > 1e9, claims
    producer.close(0)
print("fine")
'''


def test_a_token_that_librdkafka_makes_itself(place):
    """An unsecured token has its times with a fraction, and comes into being with the client."""
    name, environment = place
    done = subprocess.run([sys.executable, "-c", TOKEN, name], env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
