"""Secrets in a producer: a random marker in every sensitive property, and a search of all output for it.

Output is what is printed, logged (with debug=all), raised, pickled and reported in statistics. The last test plants a
marker in each of these places, to show that the search would find it.
"""
import copy
import ctypes
import io
import logging
import pickle
import subprocess
import sys
import time
import traceback
import uuid

import pytest

from helpers import needs

from kafkapp import EventsPollingOption, KafkaAsyncProducer, KafkaSyncProducer, ProducerConfig, ProducerRecord, Properties
from kafkapp.common import errors
from kafkapp.config.names import SENSITIVE, is_sensitive

NOWHERE = "127.0.0.1:1"
LIBRARY = ctypes.CDLL(errors.__file__)      # its symbols include those of the librdkafka that it is linked to
PIECE = 10          # so many characters of a marker in a row are a leak


def marker():
    return f"zq{uuid.uuid4().hex}qz"


def known(name):
    """Whether this librdkafka has the property (2.0.2 lacks some)."""
    LIBRARY.rd_kafka_conf_new.restype = ctypes.c_void_p
    conf = ctypes.c_void_p(LIBRARY.rd_kafka_conf_new())
    text = ctypes.create_string_buffer(512)
    try:                                # -2: RD_KAFKA_CONF_UNKNOWN
        return LIBRARY.rd_kafka_conf_set(conf, name.encode(), None, text, ctypes.c_size_t(512)) != -2
    finally:
        LIBRARY.rd_kafka_conf_destroy(conf)


NAMES = sorted(name for name in SENSITIVE if known(name))
# What makes librdkafka look at them.
SETTINGS = {
    "none": {},
    "plain": {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "PLAIN", "sasl.username": "", "sasl.password": ""},
    "scram": {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "SCRAM-SHA-256", "sasl.username": "", "sasl.password": ""},
    "ssl": {"security.protocol": "ssl"},
    "oauth": {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "OAUTHBEARER", "enable.sasl.oauthbearer.unsecure.jwt": True},
}


class Everything:
    """All that was said, by where it was said."""

    def __init__(self):
        self.said = []
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)

    def __enter__(self):
        self.logger = logging.getLogger("kafkapp")
        self.level = self.logger.level
        self.logger.setLevel(logging.DEBUG)
        self.logger.addHandler(self.handler)
        return self

    def __exit__(self, *exc):
        self.logger.removeHandler(self.handler)
        self.logger.setLevel(self.level)
        self.add("logging", self.stream.getvalue())

    def add(self, where, what):
        self.said.append((where, what if isinstance(what, bytes) else str(what).encode()))

    def callback(self, where):
        return lambda *said: self.add(where, said)

    def exception(self, exc):
        self.add("exception", exc)
        self.add("repr of the exception", repr(exc))
        self.add("arguments of the exception", exc.args)
        self.add("traceback", "".join(traceback.format_exception(exc)))
        self.add("pickled exception", pickle.dumps(exc))
        if hasattr(exc, "error"):
            self.add("error", [str(exc.error), repr(exc.error), exc.error.message])

    def leaks(self, *secrets):
        """Where a secret, or a piece of one, was said."""
        pieces = {secret[i:i + PIECE].encode() for secret in secrets for i in range(len(secret) - PIECE + 1)}
        return [(where, what) for where, what in self.said if any(piece in what for piece in pieces)]


def exercise(properties, everything, seconds=0.4):
    """Make a producer of these properties and have it say all that it can."""
    everything.add("repr of Properties", [repr(Properties(properties)), str(ProducerConfig(properties))])
    try:
        producer = KafkaAsyncProducer(properties, EventsPollingOption.Manual)
    except Exception as exc:
        everything.exception(exc)
        return
    try:
        everything.add("repr of the producer", [repr(producer), str(producer), repr(producer.properties), producer.name])
        producer.send(ProducerRecord("t", value=b"v"), everything.callback("delivery"))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            producer.poll_events(0.05)
        for wrong in (lambda: producer.flush(0), lambda: producer.fetch_broker_metadata("t", 0.1), lambda: pickle.dumps(producer),
                      lambda: copy.copy(producer), lambda: producer.poll_events("x")):
            try:
                wrong()
            except Exception as exc:
                everything.exception(exc)
    finally:
        producer.close(0)
        everything.add("repr of the closed producer", [repr(producer), repr(producer._ledger())])


@pytest.mark.parametrize("logs", ["log_cb", "logging"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_all_secrets_at_once_and_each_alone(setting, logs):
    credentials = ["sasl.username", "sasl.password"]
    chosen = [credentials] if credentials[0] in SETTINGS[setting] else [NAMES, *([name] for name in NAMES)]
    for names in chosen:
        secrets = {name: marker() for name in names}
        with Everything() as everything:
            properties = {"bootstrap.servers": NOWHERE, "debug": "all", "statistics.interval.ms": 50, **SETTINGS[setting], **secrets,
                          "error_cb": everything.callback("error_cb"), "stats_cb": everything.callback("stats_cb")}
            if logs == "log_cb":
                properties["log_cb"] = everything.callback("log_cb")
            exercise(properties, everything, 0.2)
        assert everything.said and everything.leaks(*secrets.values()) == [], names


@needs("sasl_scram")
def test_a_server_that_asks_for_the_password(cluster):
    """SASL against a broker that knows none: the exchange goes as far as it can, with everything logged."""
    secrets = {"sasl.username": marker(), "sasl.password": marker()}
    for mechanism in ("PLAIN", "SCRAM-SHA-512"):
        with Everything() as everything:
            exercise({"bootstrap.servers": cluster.bootstrap_servers, "security.protocol": "sasl_plaintext", "debug": "all",
                      "sasl.mechanisms": mechanism, **secrets, "log_cb": everything.callback("log_cb"),
                      "error_cb": everything.callback("error_cb")}, everything, 1)
        assert len(everything.said) > 20 and everything.leaks(*secrets.values()) == []


BAD = [("security.protocol", "sasl_plaintext"), ("acks", "wrong"), ("no.such.property", "x"), ("linger.ms", -1), ("linger.ms", 1e9),
       ("bootstrap.servers", "host:port"), ("bootstrap.servers", ""), ("partitioner", "wrong"), ("client.id", "a\0b"), ("acks", None),
       ("ssl.ca.location", "/nope"), ("batch.size", "5s")]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_failure_of_another_property(name, value):
    secrets = {secret: marker() for secret in NAMES}
    for Producer in (KafkaAsyncProducer, KafkaSyncProducer):
        with Everything() as everything, pytest.raises((ValueError, TypeError)) as caught:
            Producer({"bootstrap.servers": NOWHERE, "security.protocol": "ssl", **secrets, name: value})
        everything.exception(caught.value)
        assert everything.leaks(*secrets.values()) == []


@pytest.mark.parametrize("spoil", [str.encode, lambda secret: [secret], lambda secret: secret + "\0", lambda secret: secret + "\ud800",
                                   lambda secret: {secret: secret}, lambda secret: (secret,), lambda secret: Weird(secret)])
@pytest.mark.parametrize("name", ["sasl.password", "ssl.key.pem"])
def test_a_secret_that_is_itself_bad(name, spoil):
    secret = marker()
    for make in (KafkaAsyncProducer, Properties):
        with Everything() as everything, pytest.raises((TypeError, ValueError)) as caught:
            make({"bootstrap.servers": NOWHERE, name: spoil(secret)})
        everything.exception(caught.value)
        assert everything.leaks(secret) == [] and name in str(caught.value)


class Weird:
    def __init__(self, secret):
        self.secret = secret

    def __repr__(self):
        return self.secret


def test_a_secret_under_a_name_that_is_wrong():
    """A slip of the finger must not print what it was for."""
    for name in ("sasl.pasword", "ssl.key.pasword", "sasl.oauthbearer.client.secrets", "password"):
        secret = marker()
        with Everything() as everything, pytest.raises(ValueError, match="No such") as caught:
            KafkaAsyncProducer({"bootstrap.servers": NOWHERE, name: secret})
        everything.exception(caught.value)
        assert everything.leaks(secret) == []


def test_a_token_that_is_refused():
    secret = marker()
    with Everything() as everything:
        for answer in ((secret, 1, "me", {}), (secret, time.time() + 60, "me", {"auth": secret}), (secret,), secret,
                       (secret, secret, secret, secret)):
            exercise({"bootstrap.servers": NOWHERE, "debug": "all", **SETTINGS["oauth"], "error_cb": everything.callback("error_cb"),
                      "log_cb": everything.callback("log_cb"), "oauthbearer_token_refresh_cb": lambda _, answer=answer: answer},
                     everything, 0.2)
    assert everything.leaks(secret) == []


def test_nothing_on_the_standard_streams():
    """librdkafka writes some warnings itself; the interpreter writes what nobody catches."""
    secret = marker()
    code = f"""
import kafkapp
properties = {{"bootstrap.servers": "{NOWHERE}", "debug": "all", "sasl.mechanisms": "PLAIN", "security.protocol": "sasl_plaintext",
              "sasl.username": {secret!r}, "sasl.password": {secret!r}}}
producer = kafkapp.KafkaAsyncProducer(properties)
print(producer, producer.properties, kafkapp.Properties(properties))
producer.send(kafkapp.ProducerRecord("t", value=b"v"), lambda *report: print(*report))
producer.close(0.3)
kafkapp.KafkaAsyncProducer(properties | {{"security.protocol": "wrong"}})
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    everything = Everything()
    everything.add("stdout", process.stdout)
    everything.add("stderr", process.stderr.replace(code.encode(), b""))
    assert b"wrong" in process.stderr and b"KafkaAsyncProducer" in process.stdout
    assert everything.leaks(secret) == []


def test_the_search_finds_what_is_planted():
    """In each place that is searched, and in pieces: an open property is said where a secret one must not be."""
    planted = marker()
    with Everything() as everything:
        exercise({"bootstrap.servers": NOWHERE, "debug": "all", "client.id": planted, "statistics.interval.ms": 50,
                  "log_cb": everything.callback("log_cb"), "stats_cb": everything.callback("stats_cb")}, everything)
        exercise({"bootstrap.servers": NOWHERE, "client.id": planted, "debug": "all"}, everything)
        exercise({"bootstrap.servers": NOWHERE, "security.protocol": planted}, everything)
        everything.add("a piece", planted[5:5 + PIECE])
    places = {where for where, _ in everything.leaks(planted)}
    assert places >= {"repr of Properties", "repr of the producer", "log_cb", "stats_cb", "logging", "exception", "traceback",
                      "pickled exception", "arguments of the exception", "error", "a piece"}
    assert not is_sensitive("client.id") and len(NAMES) >= 8
