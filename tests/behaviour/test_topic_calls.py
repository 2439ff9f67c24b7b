"""Topic calls: send("orders", value, key=key) sends what send(ProducerRecord("orders", key=key, value=value)) does."""
import ast
import asyncio
import gc
import sys

import pytest
from helpers import HELD, NOWHERE, ROOT, consume, held_for_records, properties

from kafkapp import (
    ActionWhileQueueIsFull,
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
from kafkapp.aio import KafkaProducer

TIME = 1_700_000_000_000
FIELDS = [{}, {"key": b"k"}, {"key": "täxt", "partition": 1}, {"partition": 2, "id": 5}, {"headers": {"a": b"1"}}, {"timestamp": TIME},
          {"key": Key(b"k"), "partition": 0, "headers": [Header("h", b"x")], "timestamp": TIME, "id": "id"}]
VALUES = [None, b"", b"bytes", "text", "täxt", bytearray(b"array"), Value(b"wrapped"), b"x" * 20000]
CASES = [(value, fields) for value in VALUES for fields in FIELDS]


def in_loop(servers, sends):
    async def run():
        async with KafkaProducer(properties(servers)) as producer:
            return [await send(producer) for send in sends]
    return asyncio.run(run())


def by_async(servers, sends, name="send", polling=EventsPollingOption.Auto):
    reports = []
    with KafkaAsyncProducer(properties(servers), polling) as producer:
        for send in sends:
            send(producer, name, callback=lambda metadata, error: reports.append(metadata if error is None else error))
        producer.flush(30)
        assert not held_for_records(producer)
    return reports


def by_sync(servers, sends):
    with KafkaSyncProducer(properties(servers)) as producer:
        return [send(producer, timeout=30) for send in sends]


def by_future(servers, sends):
    with KafkaAsyncProducer(properties(servers)) as producer:
        return [future.result(30) for future in [send(producer, "send_future") for send in sends]]


WAYS = {"auto": by_async, "future": by_future, "manual": lambda *given: by_async(*given, polling=EventsPollingOption.Manual),
        "try_send": lambda *given: by_async(*given, name="try_send"), "sync": by_sync, "aio": in_loop}


@pytest.mark.parametrize("way", WAYS)
def test_both_calls_send_the_same(broker, way):
    topics = [f"{way}-{kind}" for kind in ("topic", "named", "record")]
    for topic in topics:
        broker.create_topic(topic, partitions=3)

    def sender(number, value, fields):
        partition = {"partition": number % 3} | fields
        made = {"".join(list(name)): value for name, value in partition.items()}        # names equal to those of arguments, not the same
        return [lambda producer, name="send", **more: getattr(producer, name)(topics[0], value, **partition, **more),
                lambda producer, name="send", **more: getattr(producer, name)(topic=topics[1], value=value, **made, **more),
                lambda producer, name="send", **more: getattr(producer, name)(ProducerRecord(topics[2], value=value, **partition), **more)]

    sends = [send for number, case in enumerate(CASES) for send in sender(number, *case)]
    outcomes = WAYS[way](broker, sends)
    by_topic = {topic: sorted((m.partition, m.offset, m.record_id, m.key_size, m.value_size)
                              for m in outcomes if m.topic == topic) for topic in topics}
    assert len(by_topic[topics[0]]) == len(CASES) and by_topic[topics[0]] == by_topic[topics[1]] == by_topic[topics[2]]
    read = [[(m.partition(), m.offset(), m.key(), m.value(), m.headers(), m.timestamp()[1] == TIME)
             for m in consume(broker, topic, len(CASES))] for topic in topics]
    assert read[0] == read[1] == read[2]


class Name(str):
    """A keyword's name whose comparison runs code, and fails."""

    __hash__ = str.__hash__

    def __eq__(self, other):
        raise LookupError("mine")


REFUSED = {
    "no value by position after a value": (("t", b"v", b"k"), {}, TypeError, "\\(\\): after a topic and a value all arguments are given by name"),
    "a callback by position": (("t", print), {}, TypeError, "callback=callback"),
    "value twice": (("t", b"v"), {"value": b"v"}, TypeError, "value is given twice"),
    "topic twice": (("t",), {"topic": "t"}, TypeError, "topic is given twice"),
    "no value": (("t",), {}, TypeError, "the value is missing; None is a null value"), "a key alone": (("t",), {"key": b"k"}, TypeError, "value is missing"),
    "a name with a mind of its own": (("t", b"v"), {Name("key"): b"k"}, (TypeError, LookupError), "key|mine"),
    "a name that is no topic": ((), {Name("zzz"): "t", "value": b"v"}, (TypeError, LookupError), "argument|mine"),
    "unknown": (("t", b"v"), {"colour": 1}, TypeError, "colour"),
    "very many": (("t",), {f"a{number}": 1 for number in range(100)}, TypeError, "100 arguments"),
    "value": (("t", 5), {}, TypeError, "value must be bytes-like"), "key": (("t",), {"key": 5}, TypeError, "key must be bytes-like"),
    "partition": (("t",), {"partition": -1}, ValueError, "partition must be"), "NUL": (("t\0",), {}, ValueError, "NUL"),
    "headers": (("t",), {"headers": 5}, TypeError, "headers"), "timestamp": (("t",), {"timestamp": 0}, ValueError, "timestamp"),
    "empty": (("",), {}, KafkaException, "topic: 0 bytes"), "neither": ((), {"value": b"v"}, TypeError, "argument"), "nothing": ((), {}, TypeError, "argument"),
    "no topic": ((b"t",), {}, TypeError, "record must be a ProducerRecord"), "option": (("t",), {"option": 5}, TypeError, "option"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("way", ["send", "try_send", "sync", "aio"])
def test_what_is_refused_leaves_nothing(way, name):
    args, named, kind, text = REFUSED[name]
    value = bytearray(b"held")
    if "value" not in named and len(args) == 1 and isinstance(args[0], str) and "value is missing" not in text:
        args += (value,)

    def check(producer, send):
        for _ in range(4):
            if way == "try_send" and kind is KafkaException:
                assert send(*args, **named).code == ErrorCode.RD_KAFKA_RESP_ERR__INVALID_ARG
                continue
            with pytest.raises(kind, match=text):
                result = send(*args, **named)
                if way == "aio":
                    raise result.exception()
        assert len(producer) == 0

    async def run():
        async with KafkaProducer(properties(NOWHERE, HELD)) as producer:
            check(producer, producer.send)

    if way == "aio":
        asyncio.run(run())
    else:
        producer = KafkaSyncProducer(properties(NOWHERE)) if way == "sync" else KafkaAsyncProducer(properties(NOWHERE, HELD))
        if way == "sync" and name == "option":
            named = {"option": SendOption.NoCopyRecordValue}        # it has none
        check(producer, producer.send if way == "sync" else getattr(producer, way))
        assert not held_for_records(producer)
        producer.close(0)
    gc.collect()
    value.append(1)         # nothing holds it


def test_references_balance(broker, topic):
    """A topic call leaves every count as it was: accepted on either path, refused by us, refused by librdkafka."""
    values = [bytes(f"value {n}", "ascii") for n in range(3)]
    key, identity = bytes("a key", "ascii"), object()
    things = [*values, key, identity, topic]
    with KafkaAsyncProducer(properties(broker, queue_buffering_max_messages=600, linger_ms=20)) as producer:
        producer.fetch_broker_metadata(topic)
        before = [sys.getrefcount(thing) for thing in things]
        for round_ in range(200):
            producer.send(topic, values[0], key=key, id=identity, partition=0, callback=lambda metadata, error: None)
            producer.send(topic, value=values[1], headers={"h": b"x"}, id=identity)
            with pytest.raises(TypeError):
                producer.send(topic, values[2], key=key, colour=identity)
            with pytest.raises(KafkaException):
                producer.send(topic, values[2], key=key, partition=77, id=identity, callback=print)
            error = producer.try_send(topic, values[2], key=key, id=identity, callback=lambda metadata, error: None)
            assert error is None or error.code == ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL, round_
        del error
        producer.flush(30)
        assert not held_for_records(producer)
        gc.collect()
        after = [sys.getrefcount(thing) for thing in things]
    assert [a - b for a, b in zip(after, before, strict=True)] == [0] * 5 + [after[5] - before[5]] and after[5] - before[5] <= 2


def test_a_full_queue():
    producer = KafkaAsyncProducer(properties(NOWHERE, HELD, queue_buffering_max_messages=1))
    producer.send("t", b"v")
    for more in ({"timeout": 0.05}, {"action": ActionWhileQueueIsFull.NoBlock}):
        with pytest.raises(BufferError):
            producer.send("t", b"v", key=b"k", callback=print, **more)
    assert producer.try_send("t", b"v").code == ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL
    assert len(producer) == 1
    producer.close(0)


def test_a_subclass_gets_what_the_caller_gives():
    calls = []

    class Mine(KafkaAsyncProducer):
        def send(self, *args, **named):
            calls.append((args, named))
            return super().send(*args, **named)

    producer = Mine(properties(NOWHERE, HELD))
    producer.send("t", b"v", key=b"k")
    assert calls == [(("t", b"v"), {"key": b"k"})] and len(producer) == 1
    producer.close(0)


@pytest.mark.parametrize(("cls", "method", "stub"), [
    (KafkaAsyncProducer, "send", "producer/async_producer"), (KafkaAsyncProducer, "try_send", "producer/async_producer"),
    (KafkaAsyncProducer, "send_future", "producer/async_producer"),
    (KafkaSyncProducer, "send", "producer/sync_producer"), (KafkaProducer, "send", "aio/outbox"),
    (KafkaProducer, "try_send", "aio/outbox")])
def test_the_stub_of_a_topic_call_is_exact(cls, method, stub):
    """stubtest takes the two overloads for one signature, so it leaves these out."""
    tree = ast.parse((ROOT / f"kafkapp/{stub}.pyi").read_text())
    overloads = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == method]
    assert [overload.args.args[1].arg for overload in overloads] == ["topic", "record"]
    topic_call = overloads[0].args
    assert [argument.arg for argument in topic_call.args] == ["self", "topic", "value"]
    names = {argument.arg for argument in topic_call.kwonlyargs}
    defaults = {"key": None, "partition": None, "headers": None, "timestamp": None, "id": None, "callback": None,
                "option": SendOption.NoCopyRecordValue, "action": None, "timeout": None}
    taken = set()

    def check(producer):
        for name, value in defaults.items():
            try:
                getattr(producer, method)("t", b"v", **{name: value})
            except TypeError as exc:
                assert "unexpected keyword" in str(exc)
            except TimeoutError:
                taken.add(name)
            else:
                taken.add(name)

    async def run():
        async with KafkaProducer(properties(NOWHERE, HELD)) as producer:
            check(producer)
            await producer.close(0)

    if cls is KafkaProducer:
        asyncio.run(run())
    else:
        producer = cls(properties(NOWHERE, message_timeout_ms=30, linger_ms=0))
        check(producer)
        producer.close(0)
    assert taken == names


def test_a_future_of_a_record_that_fails(broker, topic):
    with KafkaAsyncProducer(properties(broker)) as producer:
        producer.fetch_broker_metadata(topic)
        with pytest.raises(KafkaException):
            producer.send_future(topic, b"v", partition=77)
        future = producer.send_future(topic, b"v", id="kept")
        assert not future.cancel() and future.result(30).record_id == "kept"
    producer = KafkaAsyncProducer(properties(NOWHERE, HELD))
    futures = [producer.send_future("t", b"v"), producer.send_future(ProducerRecord("t"), SendOption.ToCopyRecordValue)]
    assert not any(future.done() for future in futures)
    producer.close(0)
    assert [future.exception(0).error.code for future in futures] == [ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE] * 2


def test_send_and_wait_is_a_coroutine(broker, topic):
    async def run():
        async with KafkaProducer(properties(broker)) as producer:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(producer.send_and_wait(topic, b"v", id=number)) for number in range(3)]
            record = await producer.send_and_wait(ProducerRecord(topic, value=b"v"))
            return [task.result().record_id for task in tasks], record.topic
    assert asyncio.run(run()) == ([0, 1, 2], topic)
