"""Oversized records: larger than the whole queue, or than a message may be. Refused at the call, alone.

librdkafka counts values against queue.buffering.max.kbytes, and nothing else of a record; for one that is larger than that it
says that the queue is full, forever. Each way of sending is tried with the queue empty and with the queue full.
"""
import asyncio
import logging
import threading
from array import array

import pytest
from batches import balanced, new_producer, sent_values
from command_line import run
from helpers import NOWHERE, properties, run_in_loop
from transactional_producers import open_producer

from kafkapp import ErrorCode, EventsPollingOption, KafkaAsyncProducer, KafkaException, ProducerRecord, SendOption
from kafkapp.aio import KafkaProducer

TOO_LARGE = ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
ROOM = 1024                 # bytes that queue.buffering.max.kbytes=1 has room for
SMALL, LARGE = b"s" * ROOM, b"l" * (ROOM + 1)
SECONDS = 10                # nothing has to be waited for


def within(call, *arguments):
    """What a call returned or raised; fails when it does not end."""
    ended = []

    def run():
        try:
            ended.append(call(*arguments))
        except Exception as exc:
            ended.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert ended, f"{call} still waits after {SECONDS} s"
    return ended[0]


def error_of(outcome):
    """The one Error of a call, raised, returned or reported."""
    if isinstance(outcome, KafkaException):
        return outcome.error
    if hasattr(outcome, "failures"):
        assert outcome.done and outcome.accepted == 0 and outcome.next_index == len(outcome)
        (_index, outcome), = outcome.failures()
    return outcome


def batch(*values, **more):
    return lambda producer, topic, value: producer.send_batch(topic, [value], partition=0, **more)


WAYS = {
    "send": lambda producer, topic, value: producer.send(ProducerRecord(topic, 0, value=value)),
    "send with headers": lambda producer, topic, value: producer.send(ProducerRecord(topic, 0, value=value, headers={"h": b"h"})),
    "list": batch(),
    "list, one by one": batch(timestamps=1_600_000_000_000),
    "list, headers": batch(headers={"h": b"h"}),
    "list, keys": batch(keys=[b"key"]),
    "list, partitioner": lambda producer, topic, value: producer.send_batch(topic, [value]),
    "list, copied": batch(option=SendOption.ToCopyRecordValue),
    "columns": lambda producer, topic, value: producer.send_batch(
        topic, value, offsets=array("q", [0, len(value)]), partition=array("i", [0])),
}
TRY = {"try_send": lambda producer, topic, value: producer.try_send(ProducerRecord(topic, 0, value=value))}
KINDS = [(kind, way) for kind in ("auto", "manual", "sync") for way in WAYS] + [("auto", "try_send"), ("manual", "try_send")]


@pytest.mark.parametrize(("kind", "way"), KINDS)
def test_what_fits_goes_out_and_a_byte_more_is_refused(broker, topic, kind, way):
    send = (WAYS | TRY)[way]
    with new_producer(kind, broker.bootstrap_servers, queue_buffering_max_kbytes=1, linger_ms=0) as producer:
        for value in SMALL, LARGE, SMALL:
            outcome = within(send, producer, topic, value)
            if value is LARGE:
                error = error_of(outcome)
                assert error.code == TOO_LARGE
                assert f"a value of {ROOM + 1} bytes" in error.message and f"values of up to {ROOM} bytes" in error.message
                assert "message.max.bytes is 1000000" in error.message and "queue.buffering.max.kbytes 1 " in error.message
            else:
                assert not isinstance(outcome, Exception), outcome
                producer.flush(SECONDS)
        assert balanced(producer)
    assert sent_values(broker.bootstrap_servers, topic) == [SMALL, SMALL]


@pytest.mark.parametrize(("kind", "way"), KINDS)
def test_a_full_queue_is_not_waited_for(kind, way):
    producer = new_producer(kind, queue_buffering_max_kbytes=1)
    try:
        producer.send_batch("t", [SMALL], timeout=0)        # which stays there
        assert error_of(within((WAYS | TRY)[way], producer, "t", LARGE)).code == TOO_LARGE
        assert len(producer) == 1
    finally:
        producer.close(0)


@pytest.mark.parametrize("kind", ["auto", "manual", "sync"])
@pytest.mark.parametrize("more", [{}, {"headers": {"h": b"h"}}, {"partition": array("i", [0, 0, 0, 0, 0, 0, 0])}],
                         ids=["runs", "one by one", "partitions"])
def test_oversized_items_of_a_batch_are_refused_alone(broker, topic, kind, more):
    values = [b"a", LARGE, LARGE, SMALL, LARGE, b"b", LARGE]
    with new_producer(kind, broker.bootstrap_servers, queue_buffering_max_kbytes=1, linger_ms=0) as producer:
        start, failed = 0, []
        while start < len(values):      # Manual waits for no room
            rest = {**more, **({"partition": more["partition"][start:]} if "partition" in more else {"partition": 0})}
            sent = within(lambda start=start, rest=rest: producer.send_batch(topic, values[start:], **rest))
            failed += [(start + index, error) for index, error in sent.failures() if index < sent.next_index]
            start += sent.next_index
            producer.flush(SECONDS)
        assert [(index, error.code) for index, error in failed] == [(index, TOO_LARGE) for index in (1, 2, 4, 6)]
        assert all(f"a value of {len(LARGE)} bytes" in error.message for _index, error in failed)
        assert balanced(producer)
    assert sent_values(broker.bootstrap_servers, topic) == [b"a", SMALL, b"b"]


def test_many_of_a_batch_keep_their_sizes(broker, topic):
    values = [bytes(ROOM + 1 + i) if i % 3 else b"small" for i in range(2000)]
    with new_producer("auto", broker.bootstrap_servers, queue_buffering_max_kbytes=1, linger_ms=0) as producer:
        sent = within(lambda: producer.send_batch(topic, values, keys=[b"k" * (i % 7) for i in range(2000)], partition=0))
        assert sent.wait(SECONDS) and sent.accepted == 667
        assert [(index, f"a key of {index % 7} and a value of {len(values[index])} bytes" in error.message)
                for index, error in sent.failures()] == [(i, True) for i in range(2000) if i % 3]


@pytest.mark.parametrize("kind", ["auto", "manual", "sync"])
def test_headers_count_for_message_max_bytes_and_are_named(broker, topic, kind):
    with new_producer(kind, broker.bootstrap_servers, message_max_bytes=2000, linger_ms=0) as producer:
        record = ProducerRecord(topic, 0, b"key", b"value", headers=[("name", bytes(1990)), ("null", None)])
        error = error_of(within(producer.send, record))
        assert error.code == TOO_LARGE
        assert "a key of 3, headers of 1998 and a value of 5 bytes; message.max.bytes is 2000, " in error.message
        sent = within(lambda: producer.send_batch(topic, [b"value"], keys=b"key", headers=record.headers))
        assert error_of(sent).message == error.message


def test_an_oversized_record_in_a_transaction(cluster, topic):
    with open_producer("auto", cluster, queue_buffering_max_kbytes=1) as producer:
        producer.init_transactions(SECONDS)
        with producer.transaction():
            assert error_of(within(producer.send, ProducerRecord(topic, 0, value=LARGE))).code == TOO_LARGE
            assert error_of(within(lambda: producer.send_batch(topic, [LARGE], partition=0))).code == TOO_LARGE
            producer.send(ProducerRecord(topic, 0, value=SMALL))


@pytest.mark.parametrize("mode", [(), ("--manual",), ("--sync",)], ids=["async", "manual", "sync"])
def test_an_oversized_line_of_the_cli(broker, topic, mode):
    result = run("produce", "-b", broker.bootstrap_servers, "-t", topic, "-p", "0", *mode, "-X", "queue.buffering.max.kbytes=1",
                 stdin=b"a\n" + LARGE + b"\nb\n")
    assert (result.returncode, "2 delivered, 1 failed" in result.stdout) == (1, True), result.stdout + result.stderr
    assert "1 x RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE\n  standard input:2: " in result.stderr
    assert sent_values(broker.bootstrap_servers, topic) == [b"a", b"b"]


# -- asyncio -------------------------------------------------------------------------------------------------------------


def test_futures_of_aio_are_done_at_once_and_what_stands_behind_goes_on(broker, topic):
    async def go():
        async with KafkaProducer(properties(broker, queue_buffering_max_kbytes=1, linger_ms=0)) as producer:
            values = [LARGE, SMALL, LARGE, b"a", SMALL, LARGE, b"b"]
            futures = [producer.send(ProducerRecord(topic, 0, value=value)) for value in values]
            assert [future.done() for future in futures] == [value is LARGE for value in values]    # the line is not empty
            outcomes = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), SECONDS)
            assert [outcome.error.code if isinstance(outcome, KafkaException) else outcome.offset for outcome in outcomes] == [
                TOO_LARGE, 0, TOO_LARGE, 1, 2, TOO_LARGE, 3]
            assert all(f"a value of {len(LARGE)} bytes" in outcomes[index].error.message for index in (0, 2, 5))
            sent = await asyncio.wait_for(producer.send_batch(topic, [LARGE]), SECONDS)
            assert error_of(sent).code == TOO_LARGE

    run_in_loop(go())


def test_in_the_line_of_aio_headers_count_too():
    async def go():
        producer = KafkaProducer(properties(NOWHERE, {"log_level": 0}, message_max_bytes=2000, queue_buffering_max_messages=1))
        first, second = (producer.send(ProducerRecord("t", 0, value=b"v")) for _ in range(2))
        large = producer.send(ProducerRecord("t", 0, b"key", b"value", headers=[("name", bytes(2000))]))
        assert "headers of 2004" in large.exception().error.message and not first.done() and not second.done()
        await producer.close(0)
        assert first.exception() and second.exception()

    run_in_loop(go())


# -- waits for room that cannot be made ------------------------------------------------------------------------------------


def waiting(kind, servers, send, **more):
    """A producer whose queue is full, and a function that waits for the end of a send which waits for room."""
    producer = new_producer(kind, servers, queue_buffering_max_messages=1, **more)
    producer.send_batch("t", [b"first"], partition=0, timeout=0)
    ended, began = [], threading.Event()

    def run():
        began.set()
        try:
            ended.append(WAYS[send](producer, "t", b"second"))
        except Exception as exc:
            ended.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    began.wait(SECONDS)
    thread.join(0.3)
    assert thread.is_alive(), ended     # there is something to wait for

    def end():
        thread.join(SECONDS)
        assert ended, "still waits"
        return ended[0]

    end.thread = thread
    return producer, end


@pytest.mark.parametrize("send", ["send", "list", "list, one by one"])
@pytest.mark.parametrize("kind", ["auto", "sync"])
def test_a_close_ends_the_wait_of_an_oversized_record(kind, send):
    producer, end = waiting(kind, NOWHERE, send)
    producer.close(0)
    outcome = end()
    if send == "send":
        assert isinstance(outcome, RuntimeError) and "closed" in str(outcome)
    else:
        assert outcome.done and list(outcome.errors) == [ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL]
    assert balanced(producer)


@pytest.mark.parametrize("send", ["send", "list"])
@pytest.mark.parametrize("kind", ["auto", "sync"])
def test_a_purge_makes_the_room(kind, send):
    producer, end = waiting(kind, NOWHERE, send)
    thread, code = end.thread, ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE
    while thread.is_alive():            # the synchronous ones wait for the report then, which the next purge brings
        producer.purge()
        thread.join(0.1)
    outcome = end()
    if send == "list":
        assert outcome.accepted == 1 and (kind == "auto" or list(outcome.errors) == [code])
    else:
        assert outcome is None if kind == "auto" else outcome.error.code == code
    producer.close(0)
    assert balanced(producer)


@pytest.mark.parametrize("send", ["send", "list"])
@pytest.mark.parametrize("kind", ["auto", "sync"])
def test_a_fatal_error_ends_the_wait_of_an_oversized_record(cluster, kind, send):
    cluster.broker_down(1)
    producer, end = waiting(kind, cluster.bootstrap_servers, send, enable_idempotence=True)
    cluster.push_request_errors("InitProducerId", *[ErrorCode.RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED] * 3)
    cluster.broker_up(1)
    outcome = end()
    error = error_of(outcome)
    assert error.is_fatal and error.code == ErrorCode.RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
    producer.close(SECONDS)
    assert balanced(producer)


def test_a_fatal_error_ends_the_line_of_aio(cluster):
    cluster.push_request_errors("InitProducerId", *[ErrorCode.RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED] * 3)

    async def go():
        producer = KafkaProducer(properties(cluster, {"error_cb": lambda error: None}, enable_idempotence=True,
                                            queue_buffering_max_messages=1))
        futures = [producer.send(ProducerRecord("t", 0, value=b"v")) for _ in range(20)]
        outcomes = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), SECONDS)
        assert {type(outcome).__name__ for outcome in outcomes} == {"KafkaException"}
        assert sum(outcome.error.is_fatal for outcome in outcomes) >= 19        # the first was in the queue
        await asyncio.wait_for(producer.close(), SECONDS)

    run_in_loop(go())


# -- said at construction --------------------------------------------------------------------------------------------------


def warnings_of(caplog, made, make=KafkaAsyncProducer):
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="kafkapp"):
        make(made).close(0)
    return [record.getMessage() for record in caplog.records if "queue.buffering.max.kbytes" in record.getMessage()]


def test_a_pair_of_properties_that_refuses_records_is_warned_about(caplog):
    nowhere = properties(NOWHERE, {"error_cb": lambda error: None})
    assert warnings_of(caplog, nowhere) == []
    assert warnings_of(caplog, nowhere | {"message.max.bytes": 1024, "queue.buffering.max.kbytes": 1}) == []
    for pair in ({"queue.buffering.max.kbytes": 1}, {"message.max.bytes": 1025, "queue.buffering.max.kbytes": 1},
                 {"message.max.bytes": 1_000_000_000, "queue.buffering.max.kbytes": 900_000}):
        warning, = warnings_of(caplog, nowhere | pair)
        assert str(pair.get("message.max.bytes", 1000000)) in warning
        assert f"({pair['queue.buffering.max.kbytes']})" in warning and str(pair["queue.buffering.max.kbytes"] * 1024) in warning


def test_a_handler_that_makes_such_a_producer_does_not_recurse_forever():
    made = properties(NOWHERE, {"error_cb": lambda error: None, "log_cb": lambda *log: None}, queue_buffering_max_kbytes=1)
    seen = []

    class Handler(logging.Handler):
        def emit(self, record):
            seen.append(record.getMessage())
            if len(seen) < 10:
                KafkaAsyncProducer(made, EventsPollingOption.Manual).close(0)

    logger, handler = logging.getLogger("kafkapp"), Handler()
    logger.addHandler(handler)
    try:
        KafkaAsyncProducer(made).close(0)
        assert len(seen) == 1
    finally:
        logger.removeHandler(handler)
