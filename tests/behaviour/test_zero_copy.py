"""Zero copy, proven from outside: bytes that change between send() and flush arrive changed.

Each kind of exporter is written through an alias of its own memory, while librdkafka
still holds the record; with ToCopyRecordValue the old bytes arrive.
"""
import array
import ctypes
import gc
import mmap
import sys
import weakref
from multiprocessing import shared_memory

import numpy
import pytest
from helpers import HELD, NOWHERE, Reports, consume, properties, run_python

from kafkapp import (
    ErrorCode,
    EventsPollingOption,
    Header,
    KafkaAsyncProducer,
    KafkaException,
    KafkaSyncProducer,
    Key,
    ProducerRecord,
    SendOption,
    Value,
)

OLD, NEW = b"old value", b"new VALUE"
SIZE = len(OLD)
COPY, NO_COPY = SendOption.ToCopyRecordValue, SendOption.NoCopyRecordValue


class Bytes(bytes):
    """A subclass, for exporters that are not exactly bytes."""


def poke(address):
    return lambda: ctypes.memmove(address, NEW, SIZE)


def poke_slice(exporter):
    def write():
        exporter[:SIZE] = NEW
    return write


# Each yields the object to send and a function that overwrites its memory in place. Immutable objects are made at
# run time, so that nothing else shares them, and overwritten at the address where CPython keeps their bytes.

def of_bytes():
    value = bytes(bytearray(OLD))
    yield value, poke(id(value) + bytes.__basicsize__ - 1)


def of_bytes_subclass():
    value = Bytes(bytearray(OLD))
    yield value, poke(id(value) + bytes.__basicsize__ - 1)


def of_str():
    value = bytearray(OLD).decode("ascii")
    yield value, poke(id(value) + sys.getsizeof("") - 1)


def of_bytearray():
    value = bytearray(OLD)
    yield value, poke_slice(value)


def of_writable_memoryview():
    value = bytearray(OLD)
    yield memoryview(value), poke_slice(value)


def of_readonly_memoryview():
    value = bytearray(OLD)
    yield memoryview(value).toreadonly(), poke_slice(value)


def of_sliced_memoryview():
    value = bytearray(b"--" + OLD + b"--")

    def write():
        value[2:2 + SIZE] = NEW
    yield memoryview(value)[2:2 + SIZE], write


def of_cast_memoryview():
    value = bytearray(OLD)
    yield memoryview(value).cast("b"), poke_slice(value)


def of_array():
    value = array.array("B", OLD)
    yield value, poke(value.buffer_info()[0])


def of_mmap():
    value = mmap.mmap(-1, SIZE)
    value[:] = OLD
    yield value, poke_slice(value)
    value.close()


def of_shared_memory():
    block = shared_memory.SharedMemory(create=True, size=SIZE)
    try:
        block.buf[:SIZE] = OLD
        yield block.buf[:SIZE], poke_slice(block.buf)
    finally:
        gc.collect()
        block.close()
        block.unlink()


def of_numpy():
    value = numpy.frombuffer(OLD, dtype=numpy.uint8).copy()
    yield value, poke(value.ctypes.data)


def of_readonly_numpy():
    value = numpy.frombuffer(OLD, dtype=numpy.uint8).copy()
    address = value.ctypes.data
    value.flags.writeable = False
    yield value, poke(address)


def of_ctypes():
    value = (ctypes.c_char * SIZE)(*OLD)
    yield value, poke(ctypes.addressof(value))


def of_value_view():
    value = bytearray(OLD)
    yield Value(value), poke_slice(value)


EXPORTERS = [make for name, make in list(globals().items()) if name.startswith("of_")]
each_exporter = pytest.mark.parametrize("make", EXPORTERS, ids=lambda make: make.__name__[3:])


@each_exporter
@pytest.mark.parametrize("option, expected", [(NO_COPY, NEW), (COPY, OLD)], ids=["no copy", "copy"])
def test_librdkafka_reads_the_exporters_own_memory_unless_asked_to_copy(broker, topic, make, option, expected):
    reports = Reports()
    for value, overwrite in make():
        with KafkaAsyncProducer(properties(broker, HELD)) as producer:
            producer.send(ProducerRecord(topic, 0, value=value), reports, option)
            overwrite()
            producer.flush(10)
        del value, overwrite
    assert reports.codes == [None]
    assert [message.value() for message in consume(broker, topic, 1)] == [expected]


def test_no_copy_is_the_default(broker, topic):
    value = bytearray(OLD)
    with KafkaAsyncProducer(properties(broker, HELD)) as producer:
        producer.send(ProducerRecord(topic, 0, value=value))
        assert producer.try_send(ProducerRecord(topic, 0, value=value)) is None
        value[:] = NEW
    assert [message.value() for message in consume(broker, topic, 2)] == [NEW, NEW]


def test_a_record_is_thin_and_is_read_when_it_is_sent(broker, topic):
    value, key, header = bytearray(OLD), bytearray(OLD), bytearray(OLD)
    record = ProducerRecord(topic, 0, Key(key), Value(value), headers=[Header("h", header)])
    value[:] = key[:] = header[:] = NEW
    with KafkaSyncProducer(properties(broker)) as producer:
        producer.send(record)
    [message] = consume(broker, topic, 1)
    assert (message.key(), message.value(), message.headers()) == (NEW, NEW, [("h", NEW)])


def test_key_and_headers_may_change_as_soon_as_send_returns(broker, topic):
    key, header, name = bytearray(OLD), bytearray(OLD), "h"
    with KafkaAsyncProducer(properties(broker, HELD)) as producer:
        producer.send(ProducerRecord(topic, 0, key, b"v", headers=[(name, header)]))
        key[:] = header[:] = NEW
        key.append(0)
        header.clear()
        producer.flush(10)
    [message] = consume(broker, topic, 1)
    assert (message.key(), message.headers()) == (OLD, [("h", OLD)])


def test_a_bytearray_is_held_until_its_report_and_free_afterwards(broker, topic):
    value, freed = bytearray(OLD), []

    def callback(metadata, error):
        value.append(1)                 # released first, then called back
        freed.append(error)

    with KafkaAsyncProducer(properties(broker, HELD)) as producer:
        producer.send(ProducerRecord(topic, 0, value=value), callback)
        with pytest.raises(BufferError):
            value.append(1)
        producer.flush(10)
        assert freed == [None]
        value.append(1)
    assert len(value) == SIZE + 2


def test_a_copied_bytearray_is_free_at_once(broker, topic):
    value = bytearray(OLD)
    with KafkaAsyncProducer(properties(broker, HELD)) as producer:
        producer.send(ProducerRecord(topic, 0, value=value), None, COPY)
        value.clear()
        assert producer.try_send(ProducerRecord(topic, 0, value=value), None, COPY) is None
        value.extend(NEW)
        assert len(producer) == 2
    assert [message.value() for message in consume(broker, topic, 2)] == [OLD, b""]


def test_a_refused_record_holds_nothing(broker, topic):
    value, large = bytearray(OLD), bytearray(2_000_000)
    with KafkaAsyncProducer(properties(broker, HELD, queue_buffering_max_messages=1)) as producer:
        producer.send(ProducerRecord(topic, 0, value=b"fills the queue"))
        assert producer.try_send(ProducerRecord(topic, 0, value=value)).code == ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL
        with pytest.raises(BufferError):
            producer.send(ProducerRecord(topic, 0, value=value), timeout=0)
        with pytest.raises(KafkaException):
            producer.send(ProducerRecord(topic, 0, value=large))
        value.append(0)
        large.append(0)


@pytest.mark.parametrize("end", ["purge", "close"])
def test_a_failed_record_frees_its_buffer(topic, end):
    value, reports = bytearray(OLD), Reports()
    producer = KafkaAsyncProducer(properties(NOWHERE))
    producer.send(ProducerRecord(topic, 0, value=value), reports)
    producer.purge() if end == "purge" else producer.close(0)
    reports.wait(1)
    value.append(0)
    producer.close(0)
    assert reports.codes == [ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE]


def test_manual_frees_buffers_in_poll_events_without_a_callback_too(broker, topic):
    value = bytearray(OLD)
    with KafkaAsyncProducer(properties(broker), EventsPollingOption.Manual) as producer:
        producer.send(ProducerRecord(topic, 0, value=value))
        with pytest.raises(BufferError):
            value.append(0)
        while len(producer):
            producer.poll_events(1)
        value.append(0)


def test_the_exporter_is_kept_alive_and_then_released(broker, topic):
    value = Bytes(bytearray(OLD))
    class Array(array.array):
        pass

    exporter = Array("B", OLD)
    weak = weakref.ref(exporter)
    before = sys.getrefcount(value)
    with KafkaAsyncProducer(properties(broker, HELD)) as producer:
        for _ in range(10):
            producer.send(ProducerRecord(topic, 0, value=value))
        producer.send(ProducerRecord(topic, 0, value=exporter))
        del exporter
        gc.collect()
        assert sys.getrefcount(value) >= before + 10 and weak() is not None
        producer.flush(10)
        gc.collect()
        assert sys.getrefcount(value) == before and weak() is None
    assert consume(broker, topic, 11)[10].value() == OLD


def test_a_view_releases_what_it_wraps_as_often_as_it_acquired_it(broker, topic):
    for inner in (bytes(bytearray(OLD)), bytearray(OLD).decode(), array.array("B", OLD)):
        view = Value(inner)
        before = sys.getrefcount(inner), sys.getrefcount(view)
        with KafkaAsyncProducer(properties(broker)) as producer:
            for option in (NO_COPY, COPY) * 20:
                producer.send(ProducerRecord(topic, 0, Key(inner), view), None, option)
                producer.try_send(ProducerRecord(topic, 0, view, view), Reports(), option)
        gc.collect()
        assert (sys.getrefcount(inner), sys.getrefcount(view)) == before


DROPPED = """
import gc, sys
from kafkapp import *

producer = KafkaAsyncProducer({"bootstrap.servers": sys.argv[1]}, EventsPollingOption[sys.argv[2]])
value = bytes(100)
before = sys.getrefcount(value)
for number in range(500):
    producer.send_batch("dropped", [value] * 10)            # nobody keeps the batch
producer.close()
gc.collect()
print(sys.getrefcount(value) - before)
"""


@pytest.mark.parametrize("polling", ["Auto", "Manual"])
def test_a_batch_that_nobody_keeps_lives_until_its_reports_and_no_longer(broker, polling, monkeypatch):
    monkeypatch.setenv("PYTHONMALLOC", "debug")             # what is used after it was freed ends the process
    assert run_python(DROPPED, broker.bootstrap_servers, polling).strip() == "0"


EMPTY = [b"", bytearray(), memoryview(b""), memoryview(b"abc")[1:1], array.array("B"), numpy.empty(0, "u1"), "",
         Bytes(), (ctypes.c_char * 0)()]


@pytest.mark.parametrize("value", EMPTY, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("option", [NO_COPY, COPY])
def test_empty_exporters_are_empty_and_not_null(broker, topic, value, option):
    with KafkaAsyncProducer(properties(broker)) as producer:
        producer.send(ProducerRecord(topic, 0, value, value), None, option)
    [message] = consume(broker, topic, 1)
    assert (message.key(), message.value()) == (b"", b"")


def test_typed_exporters_send_their_bytes(broker, topic):
    values = [array.array("d", [1.5, -2.0]), numpy.arange(6, dtype=">i4").reshape(2, 3),
              memoryview(array.array("h", [1, 2, 3])), (ctypes.c_int * 2)(7, 8)]
    with KafkaAsyncProducer(properties(broker)) as producer:
        for value in values:
            producer.send(ProducerRecord(topic, 0, value=value))
    assert [message.value() for message in consume(broker, topic, 4)] == [bytes(value) for value in values]


def test_a_buffer_with_gaps_is_refused_and_not_copied_in_secret():
    for value in (memoryview(b"0123456789")[::2], numpy.arange(10)[::2], numpy.arange(12).reshape(3, 4).T):
        with pytest.raises(BufferError):
            ProducerRecord("t", value=value)


def test_a_released_view_raises_at_send_and_sends_nothing(broker, topic):
    view = memoryview(b"value")
    record = ProducerRecord(topic, value=view)
    view.release()
    with KafkaAsyncProducer(properties(broker)) as producer:
        with pytest.raises(ValueError):
            producer.send(record)
        assert len(producer) == 0


def test_large_values_go_out_of_the_callers_memory(broker, topic):
    value = bytearray(900_000)
    reports = Reports()
    with KafkaAsyncProducer(properties(broker, HELD)) as producer:
        producer.send(ProducerRecord(topic, 0, value=value), reports)
        value[:] = b"x" * 900_000
        producer.flush(10)
    [message] = consume(broker, topic, 1)
    assert message.value() == bytes(value)


def test_a_batch_reads_one_buffer_in_place_and_holds_it_until_done(broker, topic):
    value, offsets = bytearray(OLD * 3), array.array("i", [0, SIZE, 2 * SIZE, 3 * SIZE])
    copied = bytearray(OLD)
    with KafkaAsyncProducer(properties(broker, HELD)) as producer:
        batch = producer.send_batch(topic, value, offsets=offsets, partition=0)
        also = producer.send_batch(topic, copied, offsets=array.array("i", [0, SIZE]), partition=1, option=COPY)
        value[SIZE:2 * SIZE] = NEW
        with pytest.raises(BufferError):
            value.append(0)
        copied.clear()
        producer.flush(10)
        assert batch.done and also.done
        value.append(0)
    assert [message.value() for message in consume(broker, topic, 4)] == [OLD, NEW, OLD, OLD]
