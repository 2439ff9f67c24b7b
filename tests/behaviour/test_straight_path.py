"""The straight path of send(): what it sends arrives as the send path sends it, and what it refuses takes that path."""
import functools
import itertools
import sys

import pytest
from helpers import HELD, NOWHERE, ROOT, held_for_records, properties, run_python, shared_library

from kafkapp import ErrorCode, EventsPollingOption, KafkaAsyncProducer, KafkaException, Key, ProducerRecord, SendOption, Value


class Derived(ProducerRecord):
    """The same record, which takes the send path: the straight one is for ProducerRecord itself."""


class Owner:
    def __init__(self):
        self.reports = []

    def on_delivery(self, metadata, error):
        self.reports.append((metadata, error))


def on_delivery(owner, metadata, error):
    owner.reports.append((metadata, error))


DATA = [None, b"", b"bytes", "text", "", "täxt", bytearray(b"array"), memoryview(b"view"), b"x" * 20000, "x" * 20000, Key(b"wrapped"),
        Value("wrapped")]
OPTIONS = [(), (SendOption.NoCopyRecordValue,), (SendOption.ToCopyRecordValue,)]
CALLBACKS = {"function": lambda owner: lambda metadata, error: owner.reports.append((metadata, error)),
             "method": lambda owner: owner.on_delivery, "by name": lambda owner: owner.on_delivery,
             "partial": lambda owner: functools.partial(on_delivery, owner), "none": lambda owner: None}


def said(metadata, error):
    return (metadata.topic, metadata.offset, metadata.record_id, metadata.key_size, metadata.value_size, metadata.persisted_status, error)


@pytest.mark.parametrize("how", CALLBACKS)
def test_both_paths_send_the_same(broker, topic, how):
    cases = list(enumerate(itertools.product(DATA, DATA, OPTIONS)))
    owners = Owner(), Owner()
    with KafkaAsyncProducer(properties(broker)) as producer:
        for number, (key, value, option) in cases:
            for partition, (cls, owner) in enumerate(zip((ProducerRecord, Derived), owners, strict=True)):
                record = cls(topic, partition, key, value, number if number % 3 else None)
                if how == "by name" and not option:
                    producer.send(record, callback=CALLBACKS[how](owner))
                else:
                    producer.send(record, CALLBACKS[how](owner), *option)
        producer.flush(30)
        assert not held_for_records(producer)
    straight, general = ([said(*report) for report in owner.reports] for owner in owners)
    assert straight == general
    assert [offset for _, offset, *_ in straight] == ([] if how == "none" else list(range(len(cases))))


def test_metadata_that_a_callback_keeps_is_not_changed(broker, topic):
    """That which it does not keep serves again for the next report."""
    kept, seen, raised = [], [], []

    def callback(metadata, error):
        seen.append((id(metadata), metadata.offset, metadata.record_id))
        if metadata.offset % 3 == 1:
            kept.append(metadata)
        elif metadata.offset % 3 == 2:
            raise ValueError(metadata)          # the traceback keeps it

    with KafkaAsyncProducer(properties(broker), EventsPollingOption.Manual) as producer:
        for number in range(300):
            producer.send(ProducerRecord(topic, 0, value=b"v", id=number if number % 2 else None), callback)
        try:
            producer.flush(30)
        except ExceptionGroup as group:
            raised = group.exceptions
    assert [metadata.offset for metadata in kept] == list(range(1, 300, 3))
    assert [error.args[0].offset for error in raised] == list(range(2, 300, 3))
    assert [record_id for *_, record_id in seen] == [number if number % 2 else None for number in range(300)]
    assert len({place for place, *_ in seen}) >= 200


@pytest.mark.parametrize(("callback", "option", "refusal"), [
    (5, SendOption.NoCopyRecordValue, "callback must be callable or None, not int"),
    (None, 0, "option must be a SendOption, not 0"), (None, None, "option must be a SendOption, not None"),
])
def test_what_is_no_callback_or_option_is_refused(callback, option, refusal):
    with KafkaAsyncProducer(properties(NOWHERE, HELD)) as producer:
        with pytest.raises(TypeError, match=refusal):
            producer.send(ProducerRecord("t"), callback, option)
        assert len(producer) == 0
        producer.close(0)


def test_a_record_that_librdkafka_refuses_leaves_nothing(broker, topic):
    with KafkaAsyncProducer(properties(broker, queue_buffering_max_messages=2, linger_ms=500)) as producer:
        producer.fetch_broker_metadata(topic)
        producer.send(ProducerRecord(topic, 0, value=b"v"))
        producer.flush(30)
        with pytest.raises(KafkaException) as caught:
            producer.send(ProducerRecord(topic, 77, b"k", b"v", object()), print)
        assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        assert not held_for_records(producer)
        refused = [producer.try_send(ProducerRecord(topic, 0, b"k", b"v", object()), lambda *report: None) for _ in range(3)]
        assert [error and error.code for error in refused] == [None, None, ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL]
        assert held_for_records(producer) == {"states": 2, "outstanding": 2}
        producer.flush(30)
        assert not held_for_records(producer)


def test_many_topics_in_turn(broker, topic):
    names = [f"{topic}-{number}" for number in range(5)]
    owner = Owner()
    with KafkaAsyncProducer(properties(broker)) as producer:
        for number in range(50):
            producer.send(ProducerRecord(names[number % 5], 0, value=b"v", id=number), owner.on_delivery)
        producer.flush(30)
    assert sorted((metadata.record_id, metadata.topic) for metadata, _ in owner.reports) == [
        (number, names[number % 5]) for number in range(50)]


COUNTED = """
import ctypes, sys
from kafkapp import *
with open("/proc/self/maps") as maps:
    librdkafka = next(line.split()[-1] for line in maps if "librdkafka" in line)
ctypes.CDLL(librdkafka, ctypes.RTLD_GLOBAL)         # the interceptors call it
interceptors = ctypes.CDLL(sys.argv[1])
servers, topic = sys.argv[2:]
class Derived(ProducerRecord):
    pass
properties = {"bootstrap.servers": servers, "plugin.library.paths": sys.argv[1]}
def counts():
    return interceptors.counted_sends(), interceptors.counted_acknowledgements()
for producer in KafkaAsyncProducer(properties), KafkaSyncProducer(properties):
    producer.fetch_broker_metadata(topic)
    producer.send(ProducerRecord(topic, 0, value=b"v"))
    producer.flush()
    for send in producer.send, getattr(producer, "try_send", producer.send):
        for cls in ProducerRecord, Derived:
            before = counts()
            try:
                error = send(cls(topic, 77, value=b"v"))
            except KafkaException as exc:
                error = exc.error
            print(error.code.name, *[after - former for former, after in zip(before, counts())])
    producer.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
def test_a_refused_record_is_tried_once(broker, topic, tmp_path, monkeypatch):
    """Interceptors see each attempt, and count or trace it."""
    monkeypatch.setenv("KAFKAPP_ALLOW_CODE_LOADING", "1")
    library = shared_library(ROOT / "tests" / "native" / "interceptors.c", tmp_path / "interceptors.so")
    told = run_python(COUNTED, str(library), broker.bootstrap_servers, topic).splitlines()
    assert told == ["RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION 1 1"] * 8
