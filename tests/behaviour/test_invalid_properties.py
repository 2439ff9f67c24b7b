"""Invalid properties: the rows of the numbered fault list on constructing a producer.

The ids are the list's numbers; test_config.py pins those that a Properties finds by itself, here they meet a producer.
A producer that cannot be made leaves no thread, and no reference to what it was given.
"""
import collections
import copy
import pickle
import sys
import threading
from collections.abc import Mapping

import pytest

from kafkapp import (ActionWhileQueueIsFull, ErrorCode, EventsPollingOption, KafkaAsyncProducer, KafkaException, KafkaSyncProducer, Properties,
                     librdkafka_features)

INVALID_ARG = ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG
NOWHERE = "127.0.0.1:1"


def on_event(*event):
    """A callback."""


async def on_delivery(metadata, error):
    """No callback, in truth."""


class BrokenMapping(Mapping):
    def __getitem__(self, name):
        raise LookupError("mine")

    def __iter__(self):
        return iter(["acks"])

    def __len__(self):
        return 1


@pytest.fixture(params=[KafkaAsyncProducer, KafkaSyncProducer])
def make(request):
    return request.param


def with_servers(properties):
    """The row's properties beside those that a producer needs; log_level 0: librdkafka's warnings are no matter here."""
    return {"bootstrap.servers": NOWHERE, "log_level": 0, **properties}


WHOLE = {
    "2": (None, TypeError, "properties|dict|None"), "3": ("bootstrap.servers=x", TypeError, "properties|dict|str"),
    "3-pairs": ([("a", "b")], TypeError, "properties|dict|list"), "3-bytes": (b"a=b", TypeError, "properties|bytes"),
    "4": ({}, INVALID_ARG, "bootstrap.servers is required"), "5": ({"bootstrap.servers": ""}, INVALID_ARG, "bootstrap.servers is empty"),
    "6": ({"bootstrap.servers": "  "}, INVALID_ARG, "bootstrap.servers is empty"),
    "6-commas": ({"bootstrap.servers": " , ,"}, INVALID_ARG, "bootstrap.servers is empty"),
    "7": ({"bootstrap.servers": "host:99999"}, INVALID_ARG, "bootstrap.servers|'host:99999'|65535"),
    "7-zero": ({"bootstrap.servers": "host:0"}, INVALID_ARG, "bootstrap.servers|'host:0'|65535"),
    "8": ({"bootstrap.servers": "host:port"}, INVALID_ARG, "bootstrap.servers|'host:port'|65535"),
    "8-second": ({"bootstrap.servers": "a:9092,host:port"}, INVALID_ARG, "bootstrap.servers|'host:port'"),
    "38": (BrokenMapping(), LookupError, "mine"),
}

ONE = {
    "10": ({"bootstrap.server": "x"}, INVALID_ARG, "No such|bootstrap.server|did you mean bootstrap.servers?"),
    "10-empty": ({"": "x"}, INVALID_ARG, "No such"), "11": ({1: "x"}, TypeError, "name|property|str|int"),
    "12": ({"acks": None}, TypeError, "acks|NoneType|leave the property out"),
    "13": ({"acks": [1]}, TypeError, "acks|list"), "13-bytes": ({"acks": b"1"}, TypeError, "acks|bytes"),
    "16": ({"batch.size": 1.5}, INVALID_ARG, "batch.size"), "17": ({"linger.ms": float("nan")}, ValueError, "linger.ms|finite"),
    "17-inf": ({"linger.ms": float("inf")}, ValueError, "linger.ms|finite"),
    "18": ({"linger.ms": -1}, INVALID_ARG, "linger.ms|0..900000"), "18-text": ({"linger.ms": "soon"}, INVALID_ARG, "linger.ms"),
    "19": ({"acks": 2000}, INVALID_ARG, "acks|2000"),
    "20": ({"acks": 1, "enable.idempotence": True}, INVALID_ARG, "acks|enable.idempotence"),
    "21": ({"max.in.flight": 6, "enable.idempotence": True}, INVALID_ARG, "max.in.flight|enable.idempotence"),
    "22": ({"compression.type": "brotli"}, INVALID_ARG, "compression"),
    "23": ({"partitioner": "foo"}, INVALID_ARG, "partitioner|foo"), "24": ({"client.id": "a\0b"}, ValueError, "client.id|NUL"),
    "25": ({"client.id": "\ud800"}, ValueError, "client.id|surrogate"), "26": ({"log_cb": 5}, TypeError, "log_cb|callable|int"),
    "26-error": ({"error_cb": "x"}, TypeError, "error_cb|callable|str"), "26-stats": ({"stats_cb": []}, TypeError, "stats_cb|callable"),
    "26-token": ({"oauthbearer_token_refresh_cb": 1}, TypeError, "oauthbearer_token_refresh_cb|callable|int"),
    "27": ({"dr_msg_cb": "x"}, INVALID_ARG, "dr_msg_cb|use send(record, callback)"), "27-opaque": ({"opaque": "x"}, INVALID_ARG, "opaque"),
    "27-callable": ({"dr_msg_cb": on_event}, TypeError, "dr_msg_cb|callable"),
    "28": ({"delivery.report.only.error": "maybe"}, INVALID_ARG, "delivery.report.only.error|true or false|maybe"),
    "29": ({"log.queue": False}, INVALID_ARG, "log.queue must be true"),
    "30": ({"internal.termination.signal": 29}, INVALID_ARG, "internal.termination.signal is refused|signal"),
    "31": ({"plugin.library.paths": "x"}, INVALID_ARG, "plugin.library.paths is refused|code"),
    "33": ({"transactional.id": "x", "transaction.timeout.ms": 1000, "message.timeout.ms": 2000}, INVALID_ARG,
           "message.timeout.ms|transaction.timeout.ms"),
    "34": ({"security.protocol": "ssl", "ssl.ca.location": "/nope"}, INVALID_ARG,
           "ssl.ca.location" if "ssl" in librdkafka_features() else "OpenSSL"),
    "35": ({"security.protocol": "tls"}, INVALID_ARG, "security.protocol|tls"),
    "36": ({"no.such.": "x" * 10_000_000}, INVALID_ARG, "No such"),
    "36-name": ({"n" * 10_000_000: "x"}, INVALID_ARG, "No such"),
    "36-value": ({"acks": "x" * 10_000_000}, INVALID_ARG, "acks"),
    "36-many": ({f"no.such.{i}": "x" for i in range(10**5)}, INVALID_ARG, "No such|no.such.0"),
    "16-tail": ({"message.timeout.ms": "5s"}, INVALID_ARG, "message.timeout.ms|whole number|5s"),
    "16-octal": ({"message.max.bytes": "0100000"}, INVALID_ARG, "message.max.bytes|whole number"),
    "16-exponent": ({"retries": "1e3"}, INVALID_ARG, "retries|whole number|1e3"),
    "16-linger": ({"linger.ms": "5ms"}, INVALID_ARG, "linger.ms|number|5ms"),
    "10-alias": ({"comression.type": "lz4"}, INVALID_ARG, "comression.type|did you mean compression.type?"),
    "10-alias-topic": ({"delivery.timout.ms": 5}, INVALID_ARG, "did you mean delivery.timeout.ms?"),
    "10-callback": ({"eror_cb": "x"}, INVALID_ARG, "did you mean error_cb?"),
    "22-words": ({"compression.type": "lz5"}, INVALID_ARG, "compression.type|lz5|allowed: none, gzip, snappy, lz4, zstd"),
    "23-words": ({"partitioner": "murmur2-random"}, INVALID_ARG, "partitioner|allowed: random, consistent, |, murmur2_random"),
    "35-words": ({"security.protocol": "tls"}, INVALID_ARG, "allowed: plaintext, ssl, sasl_plaintext, sasl_ssl"),
    "35-empty": ({"security.protocol": ""}, INVALID_ARG, "security.protocol|empty|allowed: plaintext, ssl"),
    "35-blank": ({"security.protocol": "  "}, INVALID_ARG, "security.protocol is empty|allowed: plaintext, ssl"),
    "14-words": ({"enable.idempotence": "yes"}, INVALID_ARG, "enable.idempotence|true"),
    "17-word": ({"linger.ms": "nan"}, INVALID_ARG, "linger.ms|number|nan"), "16-comma": ({"linger.ms": "0,5"}, INVALID_ARG, "linger.ms|number|0,5"),
    "16-underscore": ({"linger.ms": "1_0"}, INVALID_ARG, "linger.ms|number|1_0"),
    "17-huge": ({"linger.ms": 10**100}, ValueError, "linger.ms|64 bits"),
}


def check_refusal(make, properties, kind, text):
    threads, counts = threading.active_count(), None
    for _ in range(3):
        with pytest.raises(KafkaException if isinstance(kind, ErrorCode) else kind) as caught:
            make(properties)
        if isinstance(kind, ErrorCode):
            assert caught.value.error.code == kind and isinstance(caught.value, ValueError), repr(caught.value)
        assert type(caught.value) is kind or isinstance(kind, ErrorCode)
        said = str(caught.value)
        for word in text.split("|"):
            assert word in said, said
        assert len(said) < 2000         # bounded, whatever was given
        del caught
        counts = counts or (sys.getrefcount(properties), sys.getrefcount(on_event))
    assert threading.active_count() == threads
    assert sys.getrefcount(properties) <= counts[0] and sys.getrefcount(on_event) <= counts[1]


@pytest.mark.parametrize("number", WHOLE)
def test_properties(make, number):
    check_refusal(make, *WHOLE[number])


@pytest.mark.parametrize("number", ONE)
def test_property(make, number):
    bad, kind, text = ONE[number]
    check_refusal(make, with_servers({**bad, "log_cb": bad.get("log_cb", on_event)}), kind, text)
    if isinstance(kind, ErrorCode):
        check_refusal(make, Properties(with_servers(bad)), kind, text)


@pytest.mark.parametrize("name, value, once", [
    ("partitioner", "murmurr", "murmurr"), ("partitioner", "", "Invalid value"), ("acks", "al", '"al"'), ("compression.type", "lz5", "lz5"),
    ("linger.ms", "soon", "soon"), ("linger.ms", 10**7, "allowed"), ("security.protocol", "tls", "tls"), ("enable.idempotence", "maybe", "true"),
])
def test_a_refusal_says_nothing_twice(name, value, once):
    with pytest.raises(ValueError) as caught:
        KafkaAsyncProducer(with_servers({name: value}))
    assert str(caught.value).count(once) == 1, caught.value


GOOD = {
    "9": ({"bootstrap.servers": "127.0.0.1:1,,127.0.0.1:2"}, "bootstrap.servers", "127.0.0.1:1,,127.0.0.1:2"),
    "14": ({"enable.idempotence": True}, "enable.idempotence", "true"), "15": ({"linger.ms": 7}, "linger.ms", "7"),
    "15-float": ({"linger.ms": 7.0}, "linger.ms", "7"), "16-float": ({"linger.ms": 1.5}, "linger.ms", "1.5"),
    "15-hex": ({"message.max.bytes": "0x10000"}, "message.max.bytes", "65536"), "15-word": ({"acks": "all"}, "acks", "-1"),
    "15-text": ({"client.id": "007"}, "client.id", "007"), "15-spaces": ({"retries": " 5 "}, "retries", "5"),
    "28": ({"delivery.report.only.error": True}, "delivery.report.only.error", "true"),
    "29": ({"log.queue": True}, "log.queue", "true"), "32": ({"transactional.id": ""}, "enable.idempotence", "false"),
    "26": ({"log_cb": on_event, "error_cb": on_event, "stats_cb": on_event}, "log_level", "0"),
}


@pytest.mark.parametrize("number", GOOD)
def test_property_that_will_do(make, number):
    properties, name, value = GOOD[number]
    with make(with_servers(properties)) as producer:
        assert producer.get_property(name) == value


def test_1_no_properties(make):
    with pytest.raises(TypeError, match="argument"):
        make()
    with pytest.raises(TypeError, match="argument"):
        make(with_servers({}), colour=1)
    with pytest.raises(TypeError, match="events_polling|argument"):
        make(with_servers({}), "Manual")
    with pytest.raises(TypeError, match="events_polling|argument"):
        make(with_servers({}), True)


def test_37_a_mapping_changed_while_it_is_read(make):
    class Index:
        def __index__(self):
            source.clear()
            return 5

    source = with_servers({"linger.ms": Index(), "client.id": "after"})
    with make(source) as producer:
        assert producer.get_property("linger.ms") == "5" and producer.client_id == "after" and not source
    source = collections.OrderedDict(with_servers({"linger.ms": Index(), "client.id": "after"}))
    with pytest.raises(KeyError, match="client.id"):        # any other mapping is asked, and says that it has none
        make(source)


def test_39_init_twice(make):
    with make(with_servers({})) as producer:
        with pytest.raises(RuntimeError, match="called already"):
            producer.__init__(with_servers({}))
        name = producer.name
        producer.flush(1)
    with pytest.raises(RuntimeError, match="called already"):
        producer.__init__(with_servers({}))
    assert producer.name == name and "closed" in repr(producer)


def test_39_init_twice_leaves_the_polling_option():
    producer = KafkaAsyncProducer(with_servers({}))
    with pytest.raises(RuntimeError, match="called already"):
        producer.__init__(with_servers({}), EventsPollingOption.Manual)
    producer.send("t", b"value", action=ActionWhileQueueIsFull.Block)       # Manual refuses it
    producer.close(0)


def test_39_init_again_after_it_failed(make):
    producer = make.__new__(make)
    with pytest.raises(KafkaException, match="No such"):
        producer.__init__(with_servers({"no.such": 1}))
    with pytest.raises(RuntimeError, match="not called"):
        producer.flush()
    producer.__init__(with_servers({}))
    producer.close(0)


CALLS = ["flush", "close", "purge", "__len__", "__enter__", "name", "client_id", "properties", "get_property", "send", "try_send",
         "poll_events", "fetch_broker_metadata", "_ledger", "__exit__"]


@pytest.mark.parametrize("call", CALLS)
def test_40_an_object_without_init(make, call):
    from kafkapp import ProducerRecord
    producer = make.__new__(make)
    arguments = {"get_property": ("acks",), "send": (ProducerRecord("t"),), "try_send": (ProducerRecord("t"),),
                 "fetch_broker_metadata": ("t",), "__exit__": (None, None, None)}.get(call, ())
    if not hasattr(make, call):
        return
    with pytest.raises(RuntimeError, match=r"__init__\(\) was not called"):
        getattr(producer, call)(*arguments)
    assert "without" in repr(producer) and producer


def test_41_a_subclass_that_overrides_close(make):
    closed = []

    class Mine(make):
        def close(self, timeout=None):
            closed.append(timeout)
            raise OSError("mine")

    with pytest.raises(OSError, match="mine"), Mine(with_servers({})) as producer:
        pass
    assert closed == [None]
    with pytest.warns(ResourceWarning, match="never closed"):
        del producer


def test_41_a_subclass_that_forgets_init(make):
    class Mine(make):
        def __init__(self):
            pass

    with pytest.raises(RuntimeError, match="Mine.__init__|was not called"):
        Mine().flush()


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, *(lambda it, p=p: pickle.dumps(it, p) for p in range(6))],
                         ids=["copy", "deepcopy", *map(str, range(6))])
def test_42_a_copy_of_a_producer(make, way):
    with make(with_servers({})) as producer, pytest.raises(TypeError, match="cannot be pickled or copied"):
        way(producer)
