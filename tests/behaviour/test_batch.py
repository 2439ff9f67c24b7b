"""send_batch and Batch: outcomes, full queues, refusals, callbacks, and the lifetime of buffers."""

import gc
import sys
import threading
import time
import weakref
from array import array

import numpy as np
import pytest
from helpers import wait_for
from batches import IN_PROGRESS, KINDS, QUEUE_FULL, Calls, balanced, new_producer, offline, sent_values
from readback import read_messages

from kafkapp import ErrorCode, Header, SendOption
from kafkapp.testing import ApiKey

VALUES = [b"%d" % i for i in range(25)]
TO_COPY = SendOption.ToCopyRecordValue
TOO_LARGE = ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
PURGED = {ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE, ErrorCode.RD_KAFKA_RESP_ERR__PURGE_INFLIGHT}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def producer(kind, broker):
    with new_producer(kind, broker.bootstrap_servers, linger_ms=1) as producer:
        yield producer
    assert balanced(producer)


# -- outcomes -------------------------------------------------------------------------------------


def test_every_item_has_its_outcome(kind, producer, broker, topic):
    calls = Calls()
    producer.send_batch(topic, [b"before"], partition=2).wait(10)
    batch = producer.send_batch(topic, VALUES, partition=2, callback=calls)
    assert batch.wait(10) is True
    assert batch.done and len(batch) == batch.accepted == batch.next_index == 25 and batch.topic == topic
    assert list(batch.errors) == [0] * 25
    assert list(batch.partitions) == [2] * 25
    assert list(batch.offsets) == list(range(1, 26))
    assert batch.failures() == []
    assert calls == [batch]
    assert sent_values(broker.bootstrap_servers, topic) == [b"before", *VALUES]


def test_what_stands_in_the_columns_until_the_reports(kind):
    with offline(kind) as producer:
        batch = producer.send_batch("t", VALUES, timeout=0)
        assert not batch.done and batch.accepted == batch.next_index == 25 and len(producer) == 25
        assert list(batch.errors) == [IN_PROGRESS] * 25
        assert list(batch.partitions) == [-1] * 25 and list(batch.offsets) == [-1001] * 25
        assert batch.failures() == []
        begin = time.monotonic()
        assert batch.wait(0.15) is False
        assert 0.148 <= time.monotonic() - begin < 5


def test_columns_are_buffers_without_copies(kind):
    with offline(kind) as producer:
        batch = producer.send_batch("t", VALUES, timeout=0)
        errors = np.asarray(batch.errors)
        assert np.shares_memory(errors, np.asarray(batch.errors))
        assert (errors == IN_PROGRESS).all()
        for column, form, name in (
            (batch.errors, "i", "int32"),
            (batch.partitions, "i", "int32"),
            (batch.offsets, "q", "int64"),
        ):
            assert (
                column.readonly and column.format == form and column.shape == (25,) and np.asarray(column).dtype == name
            )
            with pytest.raises(TypeError):
                column[0] = 1
            with pytest.raises(ValueError):
                np.asarray(column).setflags(write=True)
        producer.purge()
        assert batch.wait(10)
        assert set(errors.tolist()) <= PURGED, "an earlier view sees the reports"
        del batch
        gc.collect()
        assert set(errors.tolist()) <= PURGED, "a view keeps the memory"


def test_nothing_to_send(kind, producer, topic):
    calls = Calls()
    batch = producer.send_batch(topic, [], callback=calls)
    assert batch.done and batch.wait() and len(batch) == batch.accepted == batch.next_index == 0
    assert list(batch.errors) == [] and bytes(batch.offsets) == b"" and batch.failures() == [] and batch
    producer.flush(10)
    assert not calls


def test_headers_for_all_a_timestamp_for_each_and_partitions(producer, broker, topic):
    stamps = np.arange(1_700_000_000_000, 1_700_000_000_006)
    places = np.array([3, 1, 1, 0, 3, 1], "i4")
    headers = [("h", b"1"), Header("h", None), ("e", b"")]
    batch = producer.send_batch(topic, list("abcdef"), headers=headers, timestamps=stamps, partition=places, keys="k")
    assert batch.wait(10) and list(batch.partitions) == places.tolist() and not batch.failures()
    messages = sorted(read_messages(broker.bootstrap_servers, topic), key=lambda m: m.value())
    assert [m.value() for m in messages] == [b"a", b"b", b"c", b"d", b"e", b"f"]
    assert [m.partition() for m in messages] == places.tolist()
    assert [m.timestamp()[1] for m in messages] == stamps.tolist()
    assert all(m.headers() == [("h", b"1"), ("h", None), ("e", b"")] and m.key() == b"k" for m in messages)


@pytest.mark.parametrize(
    "partition", [2, np.int64(2), array("i", [2] * 25), np.full(25, 2, "i4")], ids=lambda p: type(p).__name__
)
@pytest.mark.parametrize(
    "timestamps",
    [1_700_000_000_123, np.int64(1_700_000_000_123), array("q", [1_700_000_000_123] * 25)],
    ids=lambda stamps: type(stamps).__name__,
)
def test_one_for_all_or_one_for_each(broker, topic, partition, timestamps):
    with new_producer("sync", broker.bootstrap_servers) as producer:
        assert producer.send_batch(topic, VALUES, partition=partition, timestamps=timestamps).failures() == []
    messages = read_messages(broker.bootstrap_servers, topic)
    assert [(m.value(), m.partition(), m.timestamp()[1]) for m in messages] == [
        (v, 2, 1_700_000_000_123) for v in VALUES
    ]


def test_partitions_and_timestamps_need_not_be_aligned(producer, broker, topic):
    """The C stress under UndefinedBehaviorSanitizer says whether they are read rightly."""
    stamps = np.arange(1_700_000_000_000, 1_700_000_000_025, dtype="i8")
    uneven = [np.ndarray(25, like.dtype, buffer=b"\0" + like.tobytes(), offset=1) for like in (np.full(25, 3, "i4"), stamps)]
    assert not any(numbers.flags.aligned for numbers in uneven)
    assert producer.send_batch(topic, VALUES, partition=uneven[0], timestamps=uneven[1]).wait(10)
    messages = read_messages(broker.bootstrap_servers, topic)
    assert [(m.partition(), m.timestamp()[1]) for m in messages] == [(3, stamp) for stamp in stamps.tolist()]


def test_without_a_partition_keys_choose_it_as_for_single_records(producer, broker, topic):
    keys = [b"key-%d" % (i % 7) for i in range(25)]
    one = producer.send_batch(topic, VALUES, keys=keys)
    two = producer.send_batch(topic, VALUES, keys=keys, partition=np.full(25, -1, "i4"))
    assert one.wait(10) and two.wait(10) and not one.failures()
    assert list(one.partitions) == list(two.partitions) and len(set(one.partitions)) > 1
    places = {m.key(): m.partition() for m in read_messages(broker.bootstrap_servers, topic)}
    assert [places[key] for key in keys] == list(one.partitions)


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"timestamps": 1}], ids=["batch", "one by one"])
def test_an_item_that_is_too_large_is_refused_alone(kind, broker, topic, more):
    calls = Calls()
    with new_producer(kind, broker.bootstrap_servers, message_max_bytes=2000) as producer:
        batch = producer.send_batch(topic, [b"a", b"x" * 3000, b"b", b"y" * 4000], partition=0, callback=calls, **more)
        assert batch.wait(10) and batch.accepted == 2 and batch.next_index == 4
        assert list(batch.errors) == [0, TOO_LARGE, 0, TOO_LARGE]
        assert [(i, error.code) for i, error in batch.failures()] == [(1, TOO_LARGE), (3, TOO_LARGE)]
        assert list(batch.offsets) == [0, -1001, 1, -1001]
        assert calls == [batch]
    assert sent_values(broker.bootstrap_servers, topic) == [b"a", b"b"]


@pytest.mark.parametrize("more", [{}, {"timestamps": 1}], ids=["batch", "one by one"])
def test_an_unknown_partition_is_refused_alone(producer, broker, topic, more):
    producer.send_batch(topic, [b"first"], partition=0).wait(10)  # the topic is known now
    batch = producer.send_batch(topic, [b"a", b"b", b"c", b"d"], partition=array("i", [0, 99, 99, 0]), **more)
    unknown = ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
    assert batch.wait(10) and list(batch.errors) == [0, unknown, unknown, 0] and batch.accepted == 2
    assert sent_values(broker.bootstrap_servers, topic) == [b"first", b"a", b"d"]


def test_an_unknown_partition_of_a_topic_not_yet_known_is_reported(producer, broker, topic):
    batch = producer.send_batch(topic, [b"a", b"b"], partition=array("i", [0, 99]))
    assert batch.wait(10) and list(batch.errors) == [0, ErrorCode.RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION]


def test_nothing_accepted_means_no_callback_and_done_at_once(kind):
    calls = Calls()
    with offline(kind, message_max_bytes=1000) as producer:
        large = bytearray(2000)
        batch = producer.send_batch("t", [large, large], callback=calls)
        assert batch.done and batch.accepted == 0 and batch.next_index == 2 and list(batch.errors) == [TOO_LARGE] * 2
        large.append(0)  # released
        assert batch.wait(0) and len(producer) == 0
        producer.flush(10)
        assert not calls


@pytest.mark.parametrize("more", [{}, {"headers": {"h": b""}}], ids=["batch", "one by one"])
def test_manual_never_blocks_and_the_rest_goes_on_in_order(broker, topic, more):
    with new_producer("manual", broker.bootstrap_servers, queue_buffering_max_messages=10, linger_ms=1) as producer:
        values, calls = VALUES, Calls()
        while values:
            batch = producer.send_batch(topic, values, partition=0, callback=calls, **more)
            assert len(batch) == len(values) and batch.accepted == batch.next_index
            assert list(batch.errors[batch.next_index :]) == [QUEUE_FULL] * (len(values) - batch.next_index)
            assert [i for i, error in batch.failures() if error.code == QUEUE_FULL] == list(
                range(batch.next_index, len(values))
            )
            values = values[batch.next_index :]
            if values:
                producer.poll_events(1)
        producer.flush(10)
        assert sum(batch.accepted for batch in calls) == 25 and all(batch.accepted for batch in calls)
    assert sent_values(broker.bootstrap_servers, topic) == VALUES


def test_a_full_queue_and_one_too_large_before_it():
    with offline("manual", queue_buffering_max_messages=2, message_max_bytes=1000) as producer:
        batch = producer.send_batch("t", [b"a", b"x" * 2000, b"b", b"c", b"y" * 2000])
        assert list(batch.errors) == [IN_PROGRESS, TOO_LARGE, IN_PROGRESS, QUEUE_FULL, QUEUE_FULL]
        assert batch.accepted == 2 and batch.next_index == 3


@pytest.mark.parametrize("kind", ["auto", "sync"])
@pytest.mark.parametrize("more", [{}, {"timestamps": 1}], ids=["batch", "one by one"])
def test_a_blocking_producer_waits_for_room(kind, broker, topic, more):
    with new_producer(kind, broker.bootstrap_servers, queue_buffering_max_messages=10, linger_ms=1) as producer:
        batch = producer.send_batch(topic, VALUES * 8, partition=0, **more)
        assert batch.accepted == batch.next_index == 200
        assert batch.wait(10) and not batch.failures()
    assert sent_values(broker.bootstrap_servers, topic) == VALUES * 8


@pytest.mark.parametrize("kind", ["auto", "sync"])
@pytest.mark.parametrize("timeout", [0, 0.2])
def test_a_blocking_producer_waits_no_longer_than_its_timeout(kind, timeout):
    with offline(kind, queue_buffering_max_messages=10) as producer:
        begin = time.monotonic()
        batch = producer.send_batch("t", VALUES, timeout=timeout)
        assert timeout - 0.002 <= time.monotonic() - begin < timeout + 5
        assert batch.accepted == batch.next_index == 10 and not batch.done and len(producer) == 10
        assert list(batch.errors) == [IN_PROGRESS] * 10 + [QUEUE_FULL] * 15


def test_close_ends_a_send_batch_that_waits_for_room():
    done = []
    with offline("auto", queue_buffering_max_messages=10) as producer:
        thread = threading.Thread(target=lambda: done.append(producer.send_batch("t", VALUES)))
        thread.start()
        wait_for(lambda: len(producer) == 10)
        producer.close(0)
        thread.join(10)
        [batch] = done
        assert batch.done and batch.accepted == 10 and set(batch.errors[:10]) <= PURGED
        assert list(batch.errors[10:]) == [QUEUE_FULL] * 15


# -- reports --------------------------------------------------------------------------------------


def test_errors_of_the_broker_land_in_the_column(kind, cluster, topic):
    refused = ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
    with new_producer(kind, cluster.bootstrap_servers, linger_ms=1) as producer:
        producer.send_batch(topic, [b"good"], partition=0).wait(10)
        cluster.push_request_errors(ApiKey.Produce, refused)
        calls = Calls()
        batch = producer.send_batch(topic, VALUES, partition=0, callback=calls)
        assert batch.wait(10) and calls == [batch]
        assert batch.accepted == 25 and list(batch.errors) == [refused] * 25
        assert [(i, error.code) for i, error in batch.failures()] == [(i, refused) for i in range(25)]
    assert sent_values(cluster.bootstrap_servers, topic) == [b"good"]


def test_the_callback_runs_on_the_right_thread(kind, producer, topic):
    threads = []
    batch = producer.send_batch(topic, VALUES, callback=lambda batch: threads.append(threading.current_thread()))
    if kind == "manual":
        wait_for(lambda: producer.poll_events(0.1) or batch.done)
    assert batch.wait(10)
    assert len(threads) == 1
    assert (threads[0] is threading.current_thread()) is (kind != "auto")
    assert threads[0].name.startswith("kafkapp") is (kind == "auto")


def test_poll_events_counts_the_records(broker, topic):
    with new_producer("manual", broker.bootstrap_servers, linger_ms=1) as producer:
        batch, served = producer.send_batch(topic, VALUES), 0
        while not batch.done:
            served += producer.poll_events(5)
        assert served == 25


def test_wait_ends_when_the_callback_has_returned(broker, topic):
    returned, began = [], threading.Event()

    def callback(batch):
        began.set()
        time.sleep(0.2)
        returned.append(batch)

    with new_producer("auto", broker.bootstrap_servers) as producer:
        batch = producer.send_batch(topic, VALUES, callback=callback)
        assert began.wait(10) and batch.done
        assert batch.wait(10) and returned == [batch]


def test_inside_a_callback_nothing_blocks(kind, cluster, topic):
    """Also while close() waits for that very callback."""
    seen = []

    def callback(batch):
        for timeout in (None, 30):
            inner = producer.send_batch(topic, [b"inner"] * 5, timeout=timeout) if kind != "sync" else None
            seen.append(inner and list(inner.errors).count(QUEUE_FULL))
        with pytest.raises(RuntimeError):
            batch.wait()
        seen.append("end")

    with new_producer(kind, cluster.bootstrap_servers, queue_buffering_max_messages=4, linger_ms=1) as producer:
        producer.send_batch(topic, VALUES[:3], callback=callback, timeout=10)
        producer.flush(10)
    assert seen[-1] == "end" and len(seen) == 3 and (kind == "sync" or seen[0] >= 1)


def test_a_callback_that_waits_while_the_producer_closes(kind):
    raised = []

    def callback(batch):
        try:
            other.wait()
        except RuntimeError as exc:
            raised.append(exc)

    with offline(kind) as producer:
        producer.send_batch("t", [b"v"], callback=callback, timeout=0)
        other = producer.send_batch("t", [b"v"], timeout=0)
        producer.close(0)
    assert len(raised) == 1


def test_what_a_callback_raises(kind, producer, topic, monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(args.exc_value))

    def callback(batch):
        raise LookupError(len(batch))

    if kind == "manual":
        batches = [producer.send_batch(topic, VALUES, partition=0, callback=callback)]
        with pytest.raises(LookupError):
            batches[0].wait(10)
    else:
        batches = [producer.send_batch(topic, VALUES, callback=callback)]
        batches[0].wait(10)
        assert [exc.args for exc in unraisable] == [(25,)]
    assert batches[0].done


def test_only_errors_means_callbacks_for_failures_only(kind, cluster, topic):
    calls = Calls()
    with new_producer(
        kind, cluster.bootstrap_servers, **{"delivery.report.only.error": True, "linger.ms": 1}
    ) as producer:
        held = bytearray(10)
        assert producer.send_batch(topic, [held], partition=0, callback=calls).wait(10)
        held.append(1)
        cluster.push_request_errors(ApiKey.Produce, ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        bad = producer.send_batch(topic, VALUES, partition=0, callback=calls)
        assert bad.wait(10) and calls == [bad]


@pytest.mark.parametrize("end", ["purge", "close"])
def test_purge_and_close_complete_batches(kind, end):
    calls = Calls()
    with offline(kind) as producer:
        batches = [producer.send_batch("t", VALUES, callback=calls, timeout=0) for _ in range(3)]
        if end == "purge":
            producer.purge()
            assert all(batch.wait(10) for batch in batches)
        else:
            producer.close(0.05)
        assert calls == batches and all(batch.done for batch in batches)
        assert all(set(batch.errors) <= PURGED and len(batch.failures()) == 25 for batch in batches)


def test_after_close(kind, broker, topic):
    producer = new_producer(kind, broker.bootstrap_servers)
    batch = producer.send_batch(topic, VALUES)
    producer.close()
    assert batch.done and batch.wait() and not batch.failures()
    with pytest.raises(RuntimeError, match="closed"):
        producer.send_batch(topic, VALUES)


# -- lifetime of buffers ---------------------------------------------------------------------------


def resizable(*arrays):
    try:
        for one in arrays:
            one.append(0)
            one.pop()
        return True
    except BufferError:
        return False


@pytest.mark.parametrize("option", SendOption, ids=lambda option: option.name)
def test_exporters_are_held_until_the_batch_is_done(kind, option):
    item, data, key, keys = bytearray(b"item"), bytearray(b"data"), bytearray(b"key"), bytearray(b"keys")
    ends = array("i", [0, 2, 4])
    with offline(kind) as producer:
        batches = [
            producer.send_batch("t", [item, "s"], keys=key, timeout=0, option=option),
            producer.send_batch("t", data, offsets=ends, keys=keys, key_offsets=ends, timeout=0, option=option),
        ]
        for one in (item, data, key, keys):
            assert resizable(one) is (option is TO_COPY)
        producer.purge()
        assert all(batch.wait(10) for batch in batches)
        assert resizable(item, data, key, keys, ends)


def test_one_hold_for_a_buffer_and_not_for_each_item():
    data, ends = bytes(1000), array("i", range(1001))
    before = sys.getrefcount(data)
    with offline("manual") as producer:
        batch = producer.send_batch("t", data, offsets=ends)
        assert batch.accepted == 1000 and before < sys.getrefcount(data) <= before + 2


def test_a_batch_that_its_user_drops_lives_until_its_end(kind, broker, topic):
    class Watched(bytearray):
        pass

    value, calls = Watched(b"value"), []
    gone = weakref.ref(value)
    with new_producer(kind, broker.bootstrap_servers, linger_ms=50) as producer:
        weak = weakref.ref(
            producer.send_batch(topic, [value] * 10, partition=0, callback=lambda batch: calls.append(len(batch)))
        )
        del value
        gc.collect()
        producer.flush(10)
        assert calls == [10]
        gc.collect()
        wait_for(lambda: weak() is None and gone() is None)
    assert sent_values(broker.bootstrap_servers, topic) == [b"value"] * 10
