"""TLS and SASL on a real broker: accepted and refused clients, the errors, and no secret in any text.

A refusal is reported by `error_cb` and the log, as by librdkafka itself; the records time out.
"""

import base64
import json
import sys
import threading
import time
import uuid

import pytest
from certificates import DAY, Authority, x509
from kafka_admin import wait_until
from readback import read_messages
from helpers import LIBRDKAFKA

import kafkapp
from kafkapp import ErrorCode, EventsPollingOption, KafkaException, ProducerRecord

SSL = ErrorCode.RD_KAFKA_RESP_ERR__SSL
TRANSPORT = ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT
AUTHENTICATION = ErrorCode.RD_KAFKA_RESP_ERR__AUTHENTICATION
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

pytestmark = [pytest.mark.skipif(not {"ssl", "sasl_scram", "sasl_oauthbearer"} <= set(kafkapp.librdkafka_features()),
                                 reason="this librdkafka has no TLS")]


def marker():
    """A secret that nothing else looks like."""
    return f"s3cret{uuid.uuid4().hex}"


PASSWORD, KEY_PASSWORD = marker(), marker()


class World:
    """The broker with its listeners, and the files that clients need."""


@pytest.fixture(scope="module")
def world(kafka_factory, tmp_path_factory):
    world = World()
    folder = tmp_path_factory.mktemp("tls")      # no word of error texts: what is part of a secret path is masked there
    world.authority, world.stranger = Authority(folder, "authority"), Authority(folder, "stranger")
    stores = {
        "tls": world.authority.issue_store("broker"),
        "mutual": world.authority.issue_store("broker-mutual"),
        "expired": world.authority.issue_store("broker-expired", valid=-DAY),
        "elsewhere": world.authority.issue_store("broker-elsewhere", names=[x509.DNSName("elsewhere.example")]),
        "sasltls": world.authority.issue_store("broker-sasl"),
    }
    config = {}
    for listener, store in stores.items():
        for name, value in {"keystore.type": "PEM", "keystore.location": store, "truststore.type": "PEM",
                            "truststore.location": world.authority.file}.items():
            config[f"listener.name.{listener}.ssl.{name}"] = value
    config["listener.name.mutual.ssl.client.auth"] = "required"
    modules = "org.apache.kafka.common.security"
    for listener, mechanisms in (("sasl", [*MECHANISMS, "OAUTHBEARER"]), ("sasltls", ["SCRAM-SHA-512"])):
        prefix = f"listener.name.{listener}"
        config[f"{prefix}.sasl.enabled.mechanisms"] = ",".join(mechanisms)
        config[f"{prefix}.plain.sasl.jaas.config"] = (
            f'{modules}.plain.PlainLoginModule required user_alice="{PASSWORD}";')
        for mechanism in ("scram-sha-256", "scram-sha-512"):
            config[f"{prefix}.{mechanism}.sasl.jaas.config"] = f"{modules}.scram.ScramLoginModule required;"
        config[f"{prefix}.oauthbearer.sasl.jaas.config"] = (
            f'{modules}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";')
    scram = [argument for mechanism in MECHANISMS[1:]
             for argument in ("--add-scram", f"{mechanism}=[name=alice,password={PASSWORD}]")]
    world.cluster = kafka_factory(1, config=config, format_arguments=scram, proxied=False, listeners={
        "TLS": "SSL", "MUTUAL": "SSL", "EXPIRED": "SSL", "ELSEWHERE": "SSL", "SASL": "SASL_PLAINTEXT", "SASLTLS": "SASL_SSL"})
    world.key, world.certificate = world.authority.issue("client", password=KEY_PASSWORD)
    world.strange_key, world.strange_certificate = world.stranger.issue("strange-client")
    yield world
    world.cluster.stop()


@pytest.fixture
def topic(world):
    return world.cluster.create_topic()


class Said:
    """All that was said by a producer, and its errors; `debug=all` has librdkafka say all it can."""

    def __init__(self):
        self.texts, self.errors = [], []
        self.changed = threading.Condition()

    def on_log(self, *said):
        with self.changed:
            self.texts.append(str(said))
            self.changed.notify_all()

    def wait_text(self, text, count, timeout=15):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.leaks(text)) >= count, timeout), f"{text} is not said {count} times"

    def on_error(self, error):
        with self.changed:
            self.texts += [str(error), repr(error), error.message]
            self.errors.append(error)
            self.changed.notify_all()

    def wait_error(self, *codes, timeout=15):
        """The first error of one of these codes."""
        with self.changed:
            found = self.changed.wait_for(lambda: [e for e in self.errors if e.code in codes], timeout)
            assert found, f"none of {codes} in {timeout} s, but {self.errors}"
            return found[0]

    def leaks(self, *secrets):
        return [text for text in self.texts if any(secret in text for secret in secrets)]


class Producer(kafkapp.KafkaAsyncProducer):
    """One that has room for what it `said`."""


@pytest.fixture
def open_producer(world, capfd):
    """Opens a producer that collects everything in its `said`; in the end no text may hold a secret."""
    opened, secrets = [], {PASSWORD, KEY_PASSWORD}

    def open_producer(listener, *more_secrets, **more):
        said = Said()
        secrets.update(more_secrets)
        made = {"bootstrap.servers": world.cluster.servers(listener), "debug": "all", "log_cb": said.on_log,
                "error_cb": said.on_error, "stats_cb": said.on_log, "statistics.interval.ms": 500, "linger.ms": 0,
                "reconnect.backoff.max.ms": 500}
        for name, value in more.items():
            made[name if name.endswith("_cb") else name.replace("_", ".")] = str(value) if not callable(value) else value
        producer = Producer(made)
        said.texts += [repr(producer), str(producer.properties), repr(producer.properties)]
        producer.said = said
        opened.append(producer)
        return producer

    yield open_producer
    for producer in opened:
        wait_until(lambda producer=producer: len(producer.said.texts) > 20, 10, "what the producer has to say")
        producer.close(0)
        assert producer.said.leaks(*secrets) == []
    printed = "".join(capfd.readouterr())
    assert not any(secret in printed for secret in secrets)


def check_let_in(world, producer, topic):
    batch = producer.send_batch(topic, [b"let in"], partition=0)
    assert batch.wait(30) and not batch.failures(), (batch.failures(), producer.said.errors)
    assert [m.value() for m in read_messages(world.cluster.bootstrap_servers, topic)] == [b"let in"]


def check_refused(world, producer, topic, codes, *reasons):
    """Reported with the reason, and nothing gets through; the producer closes in time."""
    batch = producer.send_batch(topic, [b"refused"], partition=0)
    error = producer.said.wait_error(*codes)
    assert any(reason in error.message for reason in reasons), error.message
    begin = time.monotonic()
    producer.close(0.2)
    assert time.monotonic() - begin < 5
    assert batch.done and batch.accepted == len(batch.failures()) == 1
    assert read_messages(world.cluster.bootstrap_servers, topic) == []
    return error


# -- TLS ---------------------------------------------------------------------------------------------------------------

def test_tls_with_a_trusted_certificate(world, open_producer, topic):
    check_let_in(world, open_producer("TLS", security_protocol="ssl", ssl_ca_location=world.authority.file), topic)


def test_tls_with_the_authority_as_text(world, open_producer, topic):
    check_let_in(world, open_producer("TLS", security_protocol="ssl", ssl_ca_pem=world.authority.file.read_text()), topic)


def test_a_client_certificate_with_an_encrypted_key(world, open_producer, topic):
    producer = open_producer("MUTUAL", security_protocol="ssl", ssl_ca_location=world.authority.file,
                             ssl_certificate_location=world.certificate, ssl_key_location=world.key,
                             ssl_key_password=KEY_PASSWORD)
    check_let_in(world, producer, topic)


def test_a_client_certificate_as_text(world, open_producer, topic):
    key = world.key.read_text()
    producer = open_producer("MUTUAL", key.splitlines()[2], security_protocol="ssl", ssl_ca_location=world.authority.file,
                             ssl_certificate_pem=world.certificate.read_text(), ssl_key_pem=key, ssl_key_password=KEY_PASSWORD)
    check_let_in(world, producer, topic)


TLS_REFUSED = {
    "unknown authority": ("TLS", lambda w: {"ssl_ca_location": w.stranger.file}, ["unknown authority"]),
    "expired": ("EXPIRED", lambda w: {"ssl_ca_location": w.authority.file}, ["the certificate has expired"]),
    "wrong host": ("ELSEWHERE", lambda w: {"ssl_ca_location": w.authority.file}, ["for another host"]),
    "no client certificate": ("MUTUAL", lambda w: {"ssl_ca_location": w.authority.file}, ["bad certificate", "certificate required"]),
    "strange client certificate": ("MUTUAL", lambda w: {
        "ssl_ca_location": w.authority.file, "ssl_certificate_location": w.strange_certificate,
        "ssl_key_location": w.strange_key}, ["certificate unknown", "unknown ca", "bad certificate", "certificate required"]),
    "plain text behind it": ("PLAINTEXT", lambda w: {"ssl_ca_location": w.authority.file}, ["SSL handshake failed", "Disconnected"]),
}


@pytest.mark.parametrize("case", TLS_REFUSED)
def test_tls_is_refused_with_the_reason(world, open_producer, topic, case):
    listener, more, reasons = TLS_REFUSED[case]
    producer = open_producer(listener, security_protocol="ssl", **more(world))
    # The broker's alert comes after the handshake of TLS 1.3: then it is an error of the connection.
    check_refused(world, producer, topic, [SSL, TRANSPORT], *reasons)


def test_wrong_host_is_let_in_where_one_asks_for_no_check(world, open_producer, topic):
    """The control of the refusals above: the certificate is as good as the others but for its host."""
    check_let_in(world, open_producer("ELSEWHERE", security_protocol="ssl", ssl_ca_location=world.authority.file,
                                      ssl_endpoint_identification_algorithm="none"), topic)


def test_plain_text_to_a_tls_listener(world, open_producer, topic):
    producer = open_producer("TLS", security_protocol="plaintext", message_timeout_ms=1500)
    batch = producer.send_batch(topic, [b"refused"], partition=0)
    assert batch.wait(15) and [e.code for _, e in batch.failures()] == [ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT]
    assert {error.code for error in producer.said.errors} & {TRANSPORT, ErrorCode.RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN}


@pytest.mark.parametrize("more, text", [
    ({"ssl_key_password": "wrong-" + marker()}, "ssl.key.location"),
    ({"ssl_certificate_location": "/nowhere"}, "ssl.certificate.location"), ({"ssl_ca_location": "/nowhere"}, "ssl.ca.location")])
def test_files_that_do_not_fit_raise_at_construction(world, open_producer, more, text):
    good = {"ssl_ca_location": world.authority.file, "ssl_certificate_location": world.certificate,
            "ssl_key_location": world.key, "ssl_key_password": KEY_PASSWORD}
    with pytest.raises(KafkaException, match=text) as failure:
        open_producer("MUTUAL", security_protocol="ssl", **good | more)
    for secret in (KEY_PASSWORD, more.get("ssl_key_password", KEY_PASSWORD)):
        assert secret not in str(failure.value) + repr(failure.value)


# librdkafka could not log in by SCRAM at newer brokers before (its changelog: "avoid concatenating").
needs_scram = pytest.mark.skipif(LIBRDKAFKA < (2, 6, 1), reason="this librdkafka cannot log in by SCRAM at a broker of Kafka 4")


# -- SASL --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mechanism", ["PLAIN", *(pytest.param(name, marks=needs_scram) for name in MECHANISMS[1:])])
def test_a_name_and_its_password(world, open_producer, topic, mechanism):
    check_let_in(world, open_producer("SASL", security_protocol="sasl_plaintext", sasl_mechanisms=mechanism, sasl_username="alice",
                                      sasl_password=PASSWORD), topic)


@needs_scram
def test_a_name_and_its_password_over_tls(world, open_producer, topic):
    check_let_in(world, open_producer("SASLTLS", security_protocol="sasl_ssl", sasl_mechanisms="SCRAM-SHA-512",
                                      sasl_username="alice", sasl_password=PASSWORD, ssl_ca_location=world.authority.file), topic)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("user", ["alice", "nobody"])
def test_a_wrong_password_or_name(world, open_producer, topic, mechanism, user):
    wrong = marker()
    producer = open_producer("SASL", wrong, security_protocol="sasl_plaintext", sasl_mechanisms=mechanism, sasl_username=user,
                             sasl_password=wrong)
    check_refused(world, producer, topic, [AUTHENTICATION], "uthentication failed", "nvalid credentials", "nvalid username")


def test_a_mechanism_that_the_broker_does_not_have(world, open_producer, topic):
    producer = open_producer("SASLTLS", security_protocol="sasl_ssl", sasl_mechanisms="PLAIN", sasl_username="alice",
                             sasl_password=PASSWORD, ssl_ca_location=world.authority.file)
    check_refused(world, producer, topic, [AUTHENTICATION], "mechanism")


@pytest.fixture
def unraisable(monkeypatch):
    """What sys.unraisablehook was called with."""
    unraised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda seen: unraised.append(seen.exc_value))
    return unraised


def token_for(subject, seconds):
    """An unsecured token, as the broker's own validator takes it."""
    def part(content):
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    now = time.time()
    claims = {"sub": subject, "iat": now - 10, "exp": now + seconds, "secret": marker()}
    return f"{part({'alg': 'none'})}.{part(claims)}."


OAUTH = {"security_protocol": "sasl_plaintext", "sasl_mechanisms": "OAUTHBEARER"}


def test_a_token_of_the_refresh_callback_which_is_asked_again_in_time(world, open_producer, topic):
    asked, again = [], threading.Event()

    def refresh(config):
        asked.append(config)
        if len(asked) > 1:
            again.set()
        return tokens[len(asked) % 2], time.time() + 2, "bob", {}

    tokens = [token_for("bob", 60), token_for("bob", 60)]
    producer = open_producer("SASL", *tokens, **OAUTH, sasl_oauthbearer_config="as=given", oauthbearer_token_refresh_cb=refresh)
    check_let_in(world, producer, topic)
    assert again.wait(15)           # at four fifths of its life
    assert set(asked) == {"as=given"}


def test_a_manual_producer_refreshes_its_token_in_the_polling_thread_and_a_synchronous_one_in_its_own(world, topic):
    for mine, make in ((False, lambda p: kafkapp.KafkaSyncProducer(p)), (True, lambda p: kafkapp.KafkaAsyncProducer(p, EventsPollingOption.Manual))):
        threads = set()

        def refresh(config):
            threads.add(threading.get_ident())
            return token_for("bob", 60), time.time() + 60, "bob", {}

        made = {"bootstrap.servers": world.cluster.servers("SASL"), "oauthbearer_token_refresh_cb": refresh,
                **{name.replace("_", "."): value for name, value in OAUTH.items()}}
        with make(made) as producer:
            producer.send(ProducerRecord(topic, 0, value=b"v"))
            producer.flush(30)
        assert len(threads) == 1 and (threading.get_ident() in threads) == mine
    assert len(read_messages(world.cluster.bootstrap_servers, topic)) == 2


def test_a_token_refresh_that_fails_is_reported_and_repeated(world, open_producer, topic, unraisable):
    token, asked = token_for("bob", 60), []

    def refresh(config):
        asked.append(config)
        if len(asked) == 1:
            raise LookupError("no token today")
        return token, time.time() + 60, "bob", {}

    producer = open_producer("SASL", token, **OAUTH, oauthbearer_token_refresh_cb=refresh)
    error = producer.said.wait_error(AUTHENTICATION)
    assert "LookupError" in error.message       # no more: the text may hold a secret
    assert [str(exc) for exc in unraisable] == ["no token today"]
    check_let_in(world, producer, topic)    # librdkafka asks again after ten seconds


@pytest.mark.parametrize("case", ["expired for the client", "expired for the broker", "garbage"])
def test_a_token_that_is_refused(world, open_producer, topic, unraisable, case):
    secret = marker()
    token, expiry = {"expired for the client": (token_for("bob", 60), time.time() - 10),
                     "expired for the broker": (token_for("bob", -120), time.time() + 60),
                     "garbage": (f"x.{secret}.", time.time() + 60)}[case]
    producer = open_producer("SASL", token, secret, **OAUTH, oauthbearer_token_refresh_cb=lambda _: (token, expiry, "bob", {}))
    check_refused(world, producer, topic, [AUTHENTICATION], "expiry has passed" if case.endswith("client") else "invalid_token")
    assert all("expiry has passed" in str(exc) and token not in str(exc) for exc in unraisable)
    assert bool(unraisable) == case.endswith("client")


def test_the_search_for_secrets_finds_what_is_planted(world, open_producer):
    """A name that is no secret is said in all the places where a secret must not be."""
    planted = marker()
    producer = open_producer("SASL", security_protocol="sasl_plaintext", sasl_mechanisms="PLAIN", sasl_username="alice",
                             sasl_password=PASSWORD, client_id=planted)
    producer.said.wait_text(planted, 3)
    assert len(producer.said.leaks(planted)) >= 3
