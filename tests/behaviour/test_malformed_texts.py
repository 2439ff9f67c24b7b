"""Malformed texts from outside: a clear error or a faithful text, and never a traceback of ours.

One table of places times forms. What the command line takes is in test_cli_malformed_texts.py, the files that it reads too.
"""
import json
import logging
import os
import time

import pytest
from scripted_broker import ScriptedBroker, answer, array, int32, string
from helpers import LIBRDKAFKA, NOWHERE, Reports, wait_for

from kafkapp import (
    Error,
    ErrorCode,
    EventsPollingOption,
    Header,
    KafkaAsyncProducer,
    KafkaException,
    KafkaSyncProducer,
    Key,
    ProducerRecord,
    Properties,
    Value,
)

Manual = EventsPollingOption.Manual
QUIET = {"log_cb": lambda *args: None, "error_cb": lambda error: None}
FORMS = {
    "not UTF-8": os.fsdecode(b"a\xff"), "half a letter": os.fsdecode("\u00e9".encode()[:1]), "NUL": "a\0b", "line ends": "a\nb\r\n%3|1|FAIL|forged",
    "10 MB": "x" * 10_000_000, "10 MB of letters": "\u00e9" * 5_000_000, "empty": "", "surrogate": "\ud800", "right to left": "\u202ea\u2066b",
    "ANSI": "\x1b[2J\x1b[31mred\x1b[0m", "separators": "a\u2028b\x85c", "letters": "\u00e9" * 300, "emoji": "\U0001f600" * 100, "blanks": " \t ",
}


def producer(**more):
    return KafkaAsyncProducer({"bootstrap.servers": NOWHERE, "message.timeout.ms": 1000, **QUIET, **more}, Manual)


def with_property(name):
    def take(text):
        with producer(**{name: text}) as made:
            assert made.properties[name] == text        # what librdkafka makes of it may differ: it strips, and has defaults
            assert isinstance(made.get_property(name) or "", str)
            for shown in repr(made), made.name, repr(made.properties), str(made.properties):
                assert isinstance(shown, str)
            made.close(0)
    return take


def named(text):
    with producer(**{text: "x"}):
        raise AssertionError("there is no such property")


def sent(make):
    """Send a record of the text; what comes back has it as it was."""
    def take(text):
        reports = Reports()
        with producer() as made:
            record = make(text)
            assert isinstance(str(record), str) and isinstance(repr(record), str)
            made.send(record, reports)
            made.purge()
            made.close(0)
        (metadata, error), = reports.calls
        assert metadata.topic == record.topic and metadata.record_id == record.id
        assert isinstance(str(metadata), str) and isinstance(str(error), str)
    return take


def metadata(text):
    with producer() as made:
        made.fetch_broker_metadata(text, 0.05)


def batch(text):
    with producer() as made:
        made.send_batch(text, [b"v"])
        made.purge()
        made.close(0)


def transactional(text):
    with producer(**{"transactional.id": text}) as made, pytest.raises(KafkaException):
        made.init_transactions(0.05)


def offsets(where):
    def take(text):
        with producer(**{"transactional.id": "me"}) as made, pytest.raises(KafkaException):
            made.send_offsets_to_transaction([(text if where == "topic" else "t", 0, 1)], (text if where == "group" else "g", -1, "", None), 0.05)
    return take


def error(text):
    made = Error(ErrorCode.RD_KAFKA_RESP_ERR__FAIL, text)
    assert made.message == text and text in str(made) and repr(text) in repr(made)
    assert str(KafkaException(made)) == str(made)


def mapping(text):
    made = Properties({"sasl.password": text, "client.id": text})
    assert made["sasl.password"] == text and isinstance(str(made), str) and isinstance(repr(made), str)
    assert Properties([("x", text)])["x"] == text


PLACES = {
    **{name: with_property(name) for name in ("client.id", "client.rack", "sasl.username", "sasl.password", "ssl.ca.pem", "ssl.key.pem",
                                              "sasl.oauthbearer.config", "client.software.name", "group.id", "debug", "acks", "linger.ms",
                                              "compression.type", "partitioner", "ssl.ca.location", "ssl.cipher.suites",
                                              "bootstrap.servers", "security.protocol", "delivery.report.only.error", "log.queue",
                                              "sasl.mechanisms", "sasl.kerberos.principal", "topic.blacklist")},
    "the name of a property": named, "Properties": mapping, "topic": sent(ProducerRecord), "topic of metadata": metadata, "topic of a batch": batch,
    "key": sent(lambda text: ProducerRecord("t", key=text)), "value": sent(lambda text: ProducerRecord("t", value=text[:900_000])),
    "Key": lambda text: str(Key(text)), "Value": lambda text: repr(Value(text)),
    "id": sent(lambda text: ProducerRecord("t", id=text)), "id of bytes": sent(lambda text: ProducerRecord("t", id=text.encode("utf-8", "surrogatepass"))),
    "name of a header": sent(lambda text: ProducerRecord("t", headers=[(text[:900_000], b"v")])),
    "Header": lambda text: str(Header(text, b"v")), "transactional.id": transactional, "topic of offsets": offsets("topic"),
    "group": offsets("group"), "Error": error, "get_property": lambda text: producer().get_property(text),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
def test_a_text_from_outside(place, form, monkeypatch):
    unraisable = []
    monkeypatch.setattr("sys.unraisablehook", lambda args: unraisable.append(args.exc_value))
    begin = time.process_time()
    try:
        PLACES[place](FORMS[form])
    except (TypeError, ValueError, KafkaException) as exc:
        said = str(exc)
        assert not isinstance(exc, UnicodeError), "one of Python's own, from within"
        assert 10 < len(said) < 2000, "long enough to be clear, short enough to be read"
        assert said.isprintable(), said
        assert exc.__cause__ is None or not isinstance(exc.__cause__, UnicodeError)
    assert unraisable == []
    assert time.process_time() - begin < 10


# -- texts of the broker -----------------------------------------------------------------------------------------------

WORDS = {"not UTF-8": b"no \xff\xfe", "half a letter": "caf\u00e9".encode()[:-1], "line ends": b"no\nCRITICAL forged\r", "ANSI": b"\x1b[2Jno",
         "right to left": "\u202eno".encode(), "long": b"n" * 30_000, "empty": b"", "NUL": b"no\0more"}


@pytest.mark.parametrize("form", WORDS)
def test_the_words_of_a_broker_that_refuses_a_record(form):
    words, reports = WORDS[form], Reports()
    with ScriptedBroker([answer(87, errors=[(0, words)], words=words)]) as broker, producer(
            **{"bootstrap.servers": broker.bootstrap_servers, "message.timeout.ms": 20000}) as made:
        made.send(ProducerRecord("t", 0, value=b"v"), reports)
        made.flush(20)
    (_, error), = reports.calls
    assert error.code == ErrorCode.RD_KAFKA_RESP_ERR_INVALID_RECORD
    assert isinstance(error.message, str) and isinstance(str(error), str) and isinstance(repr(error), str)


class OddBroker(ScriptedBroker):
    """Says in its metadata that there is another broker, of this name, and that this is the topic's."""

    def __init__(self, host):
        super().__init__()
        self.host = host

    def metadata(self, request):
        topics = [request.string() for _ in range(max(0, request.take(">i")))]
        data = int32(0) if request.version >= 3 else b""
        data += array([int32(1) + string("127.0.0.1") + int32(self.port) + string(None),
                       int32(2) + string(self.host) + int32(9092) + string(None)])
        data += (string(self.host) if request.version >= 2 else b"") + int32(1)
        return data + array(b"\0\0" + string(name) + b"\0" + array([b"\0\0" + int32(0) + int32(2) + array([int32(2)]) + array([int32(2)])])
                            for name in topics)


HOSTS = {name: words[:200] for name, words in WORDS.items() if name != "empty"}


@pytest.mark.skipif(LIBRDKAFKA < (2, 4, 0), reason="an older librdkafka takes a broker's name to pieces for another port")
@pytest.mark.parametrize("form", HOSTS)
def test_the_name_of_a_broker(form):
    lines, statistics, errors = [], [], []
    with OddBroker(HOSTS[form]) as broker, KafkaAsyncProducer(
            {"bootstrap.servers": broker.bootstrap_servers, "debug": "broker,metadata", "statistics.interval.ms": 100,
             "log_cb": lambda *line: lines.append(line), "error_cb": errors.append, "stats_cb": statistics.append}) as made:
        answered = made.fetch_broker_metadata("t", 10)
        assert {node.id for node in answered.nodes} == {1, 2} and isinstance(str(answered), str) and isinstance(repr(answered), str)
        made.send(ProducerRecord("t", 0, value=b"v"))
        wait_for(lambda: errors and len(statistics) > 2, 20)
        made.purge()
        made.close(0)
    assert lines and all(isinstance(part, str) and part.isprintable() for line in lines for part in line[1:]), "each is one line"
    assert all(isinstance(text, str) and json.loads(text, strict=False) for text in statistics[:1] if form not in ("ANSI", "line ends"))
    assert all(isinstance(str(error), str) for error in errors)


@pytest.mark.parametrize("make", [KafkaSyncProducer, KafkaAsyncProducer])
def test_a_line_of_log_stays_one_line(make, caplog):
    """librdkafka logs names as they are; what goes to logging, and so to files, cannot pose as other lines."""
    caplog.set_level(logging.DEBUG, "kafkapp")
    forged = "a\n%3|1|FAIL|forged\r\x1b[2J\u202e"
    with make({"bootstrap.servers": NOWHERE, "client.id": forged, "client.rack": forged, "debug": "all"}) as made:
        wait_for(lambda: caplog.records)
        made.close(0)
    assert caplog.records and all(record.getMessage().isprintable() for record in caplog.records)
    assert any("a\\n%3|1|FAIL|forged\\r\\x1b[2J" in record.getMessage() for record in caplog.records)
    assert made.client_id == forged, "a faithful text"


@pytest.mark.parametrize("name", ["topic.blacklist", "sasl.password", "partition.assignment.strategy", "client.id", "group.id"])
def test_a_value_that_would_not_fit_on_a_stack(name):
    with pytest.raises(ValueError, match=f"{name}: 65537 bytes long, must be at most 65536"):
        producer(**{name: "x" * 65537})
    with pytest.raises(ValueError, match=f"{name}: 65538 bytes"):
        producer(**{name: "\u00e9" * 32769})


def test_files_whose_names_are_no_utf8(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.pem"
    with open(path, "w"):
        pass
    with pytest.raises(ValueError, match="ssl.ca.location must not contain a lone surrogate"):
        producer(**{"ssl.ca.location": os.fsdecode(path)})


def test_the_switch_of_the_environment_is_no_text(monkeypatch):
    monkeypatch.setattr(os, "environ", {**os.environ, "KAFKAPP_ALLOW_CODE_LOADING": os.fsdecode(b"\xff")})
    with pytest.raises(ValueError, match=r"plugin\.library\.paths is refused"):
        producer(**{"plugin.library.paths": "x"})
