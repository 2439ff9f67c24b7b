"""Mistakes with TLS and SASL: each is an error when the producer is made, in the names that were given, and says what would do.

What may be meant is warned of instead, by a WARNING of logging.getLogger("kafkapp"). No secret is shown, and nothing else is hidden.
"""
import base64
import logging
import os

import pytest

from helpers import NOWHERE, needs, properties, wait_for

import certificates
from kafkapp import ErrorCode, KafkaAsyncProducer, KafkaException, KafkaSyncProducer, Properties
from kafkapp.config.redaction import redact, secrets
from kafkapp.config.security import MECHANISMS, against_file, contradiction, doubts, hint

QUIET = {"log_level": 0, "error_cb": lambda error: None, "log_cb": lambda *log: None}
TLS = {"security.protocol": "ssl"}
SASL = {"security.protocol": "sasl_plaintext"}
PASSWORD = {"sasl.username": "me", "sasl.password": "hunter22hunter22"}
SECRET = "MC4CAQAwBQYDK2VwBCIEIFsecretsecretsecretsecret"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
MISSING = "/no/such/folder/ca.pem"


def refusal(*more, make=KafkaAsyncProducer):
    with pytest.raises(KafkaException) as caught:
        make(properties(NOWHERE, QUIET, *more))
    assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG and isinstance(caught.value, ValueError)
    message = caught.value.error.message
    assert SECRET not in message and "hunter22" not in message and "\n" not in message
    return message


# {mistake: (properties, what the message has, in this order)}
MISTAKES = {
    "a value of acks": ({"acks": "al"}, 'Invalid value "al"|"acks"|allowed: all (-1), 1, 0'),
    "of the name behind acks": ({"request.required.acks": "al"}, '"request.required.acks"; allowed: all'),
    "a number's alias": ({"linger.ms": "soon"}, 'Invalid value "soon"|"linger.ms"; allowed: 0..900000'),
    "a word's alias": ({"compression.type": "brotli"}, '"brotli"|"compression.type"; allowed: none, gzip, snappy, lz4, zstd'),
    "a range": ({"linger.ms": -1}, '"linger.ms"|0..900000'),
    "a client's alias": ({"max.in.flight": 6, "enable.idempotence": True}, "`max.in.flight` must be"),
    "a protocol": ({"security.protocol": "SASL"}, "SASL|security.protocol|allowed: plaintext, ssl, sasl_plaintext, sasl_ssl"),
    "no mechanism": (SASL | PASSWORD, f"security.protocol=sasl_plaintext needs sasl.mechanisms: {MECHANISMS}"),
    "an empty mechanism": (SASL | PASSWORD | {"sasl.mechanism": ""}, '"sasl.mechanism"|allowed: GSSAPI, PLAIN'),
    "a mechanism": (SASL | PASSWORD | {"sasl.mechanism": "PLAINN"}, "PLAINN|sasl.mechanism allows: PLAIN, SCRAM-SHA-256"),
    "the other name": (SASL | PASSWORD | {"sasl.mechanisms": "plain"}, "plain|sasl.mechanisms allows: PLAIN"),
    "no password": (SASL | {"sasl.mechanism": "PLAIN", "sasl.username": "me"}, "sasl.username and sasl.password must be set"),
    "a password's end": (SASL | PASSWORD | {"sasl.mechanism": "PLAIN", "sasl.password": "hunter22hunter22\n"}, "sasl.password ends in a line end|.strip()"),
    "a name's end": (SASL | PASSWORD | {"sasl.mechanism": "PLAIN", "sasl.username": "me\r\n"}, "sasl.username ends in a line end|.strip()"),
}
ONLY_TLS = {
    "a CA file": ({"ssl.ca.location": MISSING}, f"ssl.ca.location: No such file or directory: '{MISSING}'"),
    "a certificate's file": ({"ssl.certificate.location": MISSING}, f"ssl.certificate.location: No such file or directory: '{MISSING}'"),
    "a revocation list": ({"ssl.crl.location": MISSING}, f"ssl.crl.location: No such file or directory: '{MISSING}'"),
    "a key's file": ({"ssl.key.location": MISSING}, "ssl.key.location: No such file or directory"),
    "a key store": ({"ssl.keystore.location": MISSING, "ssl.keystore.password": "hunter22"}, "ssl.keystore.location: No such file or directory"),
    "a line end": ({"ssl.ca.location": f"{__file__}\n"}, r"No such file or directory: |test_security_mistakes.py\n'; it ends in a blank or a line end: use .strip()"),
    "a home": ({"ssl.ca.location": "~/no-such-ca.pem"}, "'~/no-such-ca.pem'; ~ is the shell's"),
    "a folder": ({"ssl.certificate.location": "/"}, "ssl.certificate.location: Is a directory: '/'"),
    "text for a path": ({"ssl.ca.location": CERTIFICATE}, "ssl.ca.location takes the path of a file|ssl.ca.pem"),
    "a key for a path": ({"ssl.key.location": KEY}, "ssl.key.location takes the path of a file|ssl.key.pem"),
    "a path for text": ({"ssl.ca.pem": MISSING}, "ssl.ca.pem is not PEM text|-----BEGIN CERTIFICATE-----|ssl.ca.location takes"),
    "an empty CA": ({"ssl.ca.pem": ""}, "ssl.ca.pem is empty"),
    "an empty key": ({"ssl.key.pem": " \n"}, "ssl.key.pem is empty"),
    "escaped line ends": ({"ssl.ca.pem": CERTIFICATE.replace("\n", "\\n")}, r"ssl.ca.pem has backslashes|.replace('\\n', '\n')"),
    "escaped in a key": ({"ssl.key.pem": KEY.replace("\n", "\\n")}, r"ssl.key.pem has backslashes|.replace('\\n', '\n')"),
    "escaped with returns": ({"ssl.certificate.pem": CERTIFICATE.replace("\n", "\\r\\n")}, "ssl.certificate.pem has backslashes"),
    "lost line ends": ({"ssl.certificate.pem": CERTIFICATE.replace("\n", " ")}, "ssl.certificate.pem has lost its line ends"),
    "base64": ({"ssl.ca.pem": base64.b64encode(CERTIFICATE.encode()).decode()}, "ssl.ca.pem is PEM in base64 once more: use base64.b64decode"),
    "a key for a CA": ({"ssl.ca.pem": KEY}, "ssl.ca.pem has no CERTIFICATE, but PRIVATE KEY"),
    "a certificate for a key": ({"ssl.key.pem": CERTIFICATE}, "ssl.key.pem has no PRIVATE KEY, but CERTIFICATE"),
    "a certificate alone": ({"ssl.certificate.pem": CERTIFICATE}, "ssl.certificate.pem needs its key: ssl.key.location or ssl.key.pem"),
    "a certificate's file alone": ({"ssl.certificate.location": __file__}, "ssl.certificate.location needs its key"),
    "a key alone": ({"ssl.key.pem": KEY}, "ssl.key.pem needs its certificate: ssl.certificate.location or ssl.certificate.pem"),
    "no PEM file": ({"ssl.ca.location": __file__}, f"ssl.ca.location failed|the file is '{__file__}'"),
    "nonsense in PEM": ({"ssl.ca.pem": CERTIFICATE}, "ssl.ca.pem"),
}


def has_in_order(message, words):
    place = 0
    for word in words.split("|"):
        place = message.find(word, place)
        assert place >= 0, f"{word!r} is missing in {message!r}"


@pytest.mark.parametrize("make", [KafkaAsyncProducer, KafkaSyncProducer])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_an_error_that_says_what_would_do(make, mistake):
    given, words = MISTAKES[mistake]
    has_in_order(refusal(given, make=make), words)


@needs("ssl")
@pytest.mark.parametrize("mistake", ONLY_TLS)
def test_a_mistake_with_tls_is_an_error_that_says_what_would_do(mistake):
    given, words = ONLY_TLS[mistake]
    has_in_order(refusal(TLS, given), words)


@needs("ssl")
def test_a_key_that_is_encrypted(tmp_path):
    key, certificate = certificates.Authority(tmp_path, "authority").issue("me", password="hunter22hunter22")
    of_files = {"ssl.key.location": str(key), "ssl.certificate.location": str(certificate)}
    of_texts = {"ssl.key.pem": key.read_text(), "ssl.certificate.pem": certificate.read_text()}
    for given in of_files, of_texts:
        has_in_order(refusal(TLS, given, {"ssl.key.password": "hunter22wrong"}), "ssl.key|the key is encrypted, and ssl.key.password is not the right one")
        has_in_order(refusal(TLS, given), "ssl.key|the key is encrypted, and ssl.key.password is not given")
        with KafkaAsyncProducer(properties(NOWHERE, QUIET, TLS, given, {"ssl.key.password": "hunter22hunter22"})) as producer:
            assert "hunter22" not in repr(producer.properties)


@needs("ssl")
def test_what_is_right_is_taken(tmp_path):
    authority = certificates.Authority(tmp_path, "authority")
    key, certificate = authority.issue("me")
    text = authority.file.read_text()
    for given in ({"ssl.ca.location": str(authority.file)}, {"ssl.ca.location": str(tmp_path)}, {"ssl.ca.location": "probe"},
                  {"ssl.ca.location": " probe"}, {"ssl.ca.location": f" {authority.file}"}, {"ssl.ca.pem": text}, {"ssl.ca.pem": f"an authority:\n{text}\n{text}"},
                  {"ssl.ca.pem": text.replace("\n", "\r\n")},
                  {"ssl.key.location": str(key), "ssl.certificate.pem": certificate.read_text()},
                  {"ssl.key.pem": key.read_text(), "ssl.certificate.location": str(certificate)}):
        KafkaAsyncProducer(properties(NOWHERE, QUIET, TLS, given)).close(0)


@needs("ssl")
def test_a_pipe_is_read_once_and_by_librdkafka(tmp_path):
    """As the shell's <(...) makes one: what has read it before leaves nothing."""
    authority = certificates.Authority(tmp_path, "authority")
    key, certificate = authority.issue("me")
    ends = {name: os.pipe() for name in ("ssl.key.location", "ssl.certificate.location", "ssl.ca.location")}
    for (_, end), file in zip(ends.values(), (key, certificate, authority.file), strict=True):
        os.write(end, file.read_bytes())        # less than a pipe holds
        os.close(end)
    try:
        KafkaAsyncProducer(properties(NOWHERE, QUIET, TLS, {name: f"/dev/fd/{end}" for name, (end, _) in ends.items()})).close(0)
    finally:
        for end, _ in ends.values():
            os.close(end)


def test_a_file_is_looked_at_as_librdkafka_opens_it(tmp_path, monkeypatch):
    """access() asks for the real user, who may not read what the effective one may; str is encoded as the locale says."""
    file = tmp_path / "ключ.pem"
    file.write_text(KEY)
    monkeypatch.setattr(os, "access", lambda *_arguments, **_named: False)
    opened, real = [], os.open
    monkeypatch.setattr(os, "open", lambda path, *more, **named: opened.append(path) or real(path, *more, **named))
    assert against_file("ssl.key.location", str(file)) == "" and opened == [str(file).encode()]
    monkeypatch.setattr(os, "open", lambda *_arguments, **_named: real(tmp_path / "not there", os.O_RDONLY))
    assert "No such file" in against_file("ssl.key.location", str(file))


def test_a_provider_may_have_keys_of_its_own():
    uri = "-----BEGIN PKCS#11 PROVIDER URI-----\nMIIB\n-----END PKCS#11 PROVIDER URI-----\n"
    given = TLS | {"ssl.key.pem": uri, "ssl.certificate.pem": CERTIFICATE}
    assert contradiction(given | {"ssl.providers": "default,pkcs11"}, "ssl") == ""
    assert contradiction(given, "ssl") == "ssl.key.pem has no PRIVATE KEY, but something else"


@pytest.mark.parametrize("name", ["ssl.ca.location", "ssl.key.location", "ssl.key.pem"])
def test_a_text_of_librdkafkas_about_what_was_not_given_needs_no_hint(name):
    assert hint(f"{name} failed: no such thing", TLS) == ""


def test_kerberos_needs_no_mechanism():
    """It is the default: who gives its properties means it."""
    assert contradiction(SASL | {"sasl.kerberos.keytab": "x"}, "sasl_plaintext") == ""
    assert contradiction(SASL | PASSWORD, "sasl_plaintext").startswith("security.protocol=sasl_plaintext needs")


# -- what may be meant ---------------------------------------------------------------------------------------------------

DOUBTS = {
    "ssl without TLS": ({"ssl.ca.location": MISSING, "ssl.key.pem": KEY}, "ssl.ca.location, ssl.key.pem: no effect with security.protocol=plaintext, its default; with ssl and sasl_ssl it has one"),
    "ssl with SASL alone": (SASL | PASSWORD | {"sasl.mechanism": "PLAIN", "ssl.ca.pem": ""}, "ssl.ca.pem: no effect with security.protocol=sasl_plaintext; with ssl"),
    "sasl without SASL": ({"security.protocol": "plaintext", "sasl.mechanism": "PLAIN", **PASSWORD},
                          "sasl.mechanism, sasl.username, sasl.password: no effect with security.protocol=plaintext; with sasl_ssl it has one"),
    "tokens without SASL": ({"oauthbearer_token_refresh_cb": print}, "oauthbearer_token_refresh_cb: no effect"),
    "statistics that never come": ({"stats_cb": print}, "stats_cb is never called while statistics.interval.ms is 0"),
    "statistics that are off": ({"stats_cb": print, "statistics.interval.ms": 0}, "stats_cb is never called"),
}


def warnings_of(caplog, name):
    return [record for record in caplog.records if record.name == "kafkapp" and record.levelno == logging.WARNING
            and (record.kafka_client, record.kafka_facility) == (name, "CONFWARN")]


@pytest.mark.parametrize("doubt", DOUBTS)
def test_what_may_be_meant_is_warned_of(doubt, caplog):
    given, words = DOUBTS[doubt]
    caplog.set_level(logging.WARNING, "kafkapp")
    with KafkaSyncProducer(properties(NOWHERE, QUIET, given)) as producer:
        record, = wait_for(lambda: warnings_of(caplog, producer.name))
    assert record.getMessage().startswith(f"{producer.name} CONFWARN ") and words in record.getMessage()
    assert SECRET not in record.getMessage() and "hunter22" not in record.getMessage()
    assert (record.kafka_client, record.kafka_facility, record.kafka_level) == (producer.name, "CONFWARN", 4)


def test_the_warnings_are_waited_for_once(caplog, monkeypatch):
    caplog.set_level(logging.WARNING, "kafkapp")
    waits = []
    monkeypatch.setattr("kafkapp.client.events.wait", waits.append)
    with KafkaSyncProducer(properties(NOWHERE, QUIET, {"ssl.ca.pem": "", "sasl.username": "me", "stats_cb": print})) as producer:
        wait_for(lambda: len(warnings_of(caplog, producer.name)) == 3)
    KafkaSyncProducer(properties(NOWHERE, QUIET)).close(0)
    assert len(waits) == 1


@needs("ssl")
def test_an_empty_path_is_warned_of(caplog):
    caplog.set_level(logging.WARNING, "kafkapp")
    with KafkaSyncProducer(properties(NOWHERE, QUIET, TLS, {"ssl.ca.location": ""})) as producer:
        record, = wait_for(lambda: warnings_of(caplog, producer.name))
    assert "ssl.ca.location: empty, which is as if not given" in record.getMessage()


def test_what_is_plain_is_not_warned_of():
    assert [*doubts({"acks": "all", "log_cb": print, "error_cb": print}, "plaintext", "0")] == []
    assert [*doubts({"stats_cb": print}, "plaintext", "1000")] == []
    assert [*doubts({"ssl.ca.location": "x"} | PASSWORD | {"sasl.mechanism": "PLAIN"}, "sasl_ssl", "0")] == []


# -- what texts hide -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text", ["no start line: Expecting: PRIVATE KEY", "no start line: Expecting: CERTIFICATE",
                                  "no start line: Expecting: TRUSTED CERTIFICATE", "ssl.key.pem failed: not in PEM format?",
                                  "is set with sasl.oauthbearer.token.endpoint.url"])
def test_public_words_and_names_are_not_hidden(text):
    secrets = {"ssl.key.pem": KEY, "ssl.ca.pem": CERTIFICATE + KEY, "ssl.certificate.pem": CERTIFICATE.replace("\n", "\\n"),
               "sasl.oauthbearer.config": "see sasl.oauthbearer.token.endpoint.url", "sasl.oauthbearer.token.endpoint.url": "https://idp"}
    assert redact(text, Properties(secrets)) == text


@pytest.mark.parametrize("shown", [SECRET, SECRET[:20], SECRET[-20:], KEY, KEY[10:60]])
def test_what_stands_between_the_labels_is_hidden(shown):
    assert SECRET[-18:] not in redact(f"bad key: {shown}", {"ssl.key.pem": KEY})
    assert SECRET[:18] not in redact(f"bad key: {shown}", {"ssl.key.pem": KEY})


@pytest.mark.parametrize("name", ["ssl.certificate.pem", "ssl.ca.pem"])
@pytest.mark.parametrize("kind", ["", "RSA ", "ENCRYPTED "])
def test_a_key_beside_a_certificate_is_hidden(name, kind):
    """librdkafka takes ssl.certificate.pem for public: with debug=conf it logs the whole of it."""
    key = KEY.replace("PRIVATE KEY", f"{kind}PRIVATE KEY")
    for both in CERTIFICATE + key, key + CERTIFICATE, (CERTIFICATE + key).replace("\n", "\r\n"):
        said = redact(f"{name} = {both}", {name: both})
        assert SECRET not in said and "MIIB" in said
        assert SECRET[:20] not in redact(f"{name} = {both}"[:both.index(SECRET) + len(name) + 23], {name: both}), "cut by librdkafka"


def test_a_bundle_of_authorities_is_not_looked_through_for_each_line_of_log():
    given = {"ssl.ca.pem": CERTIFICATE * 200, "ssl.certificate.pem": CERTIFICATE + KEY, "sasl.password": "hunter22hunter22", "log_cb": print, "acks": "all"}
    assert [*secrets(given)] == ["ssl.certificate.pem", "sasl.password"]
    assert [*secrets({"ssl.ca.pem": "no certificate"})] == ["ssl.ca.pem"]


@needs("ssl")
def test_a_key_beside_a_certificate_is_not_logged(tmp_path):
    key, certificate = certificates.Authority(tmp_path, "authority").issue("me")
    secret = key.read_text().split("\n")[1]
    lines = []
    given = {"ssl.certificate.pem": certificate.read_text() + key.read_text(), "ssl.key.location": str(key), "debug": "conf"}
    with KafkaAsyncProducer(properties(NOWHERE, QUIET, TLS, given, {"log_level": 7, "log_cb": lambda level, facility, text: lines.append(text)})):
        wait_for(lambda: any("ssl.certificate.pem" in line for line in lines))
    assert not [line for line in lines if secret in line]
