"""What a program commits: all forms of offsets, callbacks, errors by name, polls that dispatch, closing without brokers.

Rows C8 to C12, CR1 and CR2 of the C++ API's own tests.
"""
import logging
import threading
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from consumers import batches, one_batch, records
from groups import LOST, REVOKED, Member, poll_until, shared
from helpers import LIBRDKAFKA, NOWHERE, Stopwatch, properties, wait_for

from kafkapp import ErrorCode, EventsPollingOption, KafkaConsumer, KafkaException, KafkaSyncProducer, RebalanceEvent, TopicPartition
from kafkapp.testing import ApiKey

COUNT = 50
MANUAL = EventsPollingOption.Manual
POLLINGS = list(EventsPollingOption)


@pytest.fixture
def filled(request, topic):
    """A topic with so many records in partition 1."""
    cluster = request.getfixturevalue("cluster" if "cluster" in request.fixturenames else "broker")
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send_batch(topic, [b"v"] * COUNT, partition=1)
    return topic


def by_hand(cluster, topic, polling=EventsPollingOption.Auto, callbacks=(), **more):
    """A consumer that commits nothing by itself, with partition 1 from its beginning. Its group is called as the topic."""
    consumer = KafkaConsumer(properties(cluster, {"group.id": topic, "enable.auto.commit": "false", "fetch.wait.max.ms": 20, **dict(callbacks)}, **more), polling)
    consumer.assign({(topic, 1): 0})
    consumer.committed([(topic, 1)], 20)        # the group's broker is known: until then librdkafka may send commits in another order
    return consumer


def code(error):
    return error.code.name.removeprefix("RD_KAFKA_RESP_ERR_")


# -- forms of offsets --------------------------------------------------------------------------------------------------

def forms(topic, batch):
    """Offsets, and what the group has then; in this order."""
    other = SimpleNamespace(topic=topic, partition=3, offset=7, metadata="here")
    return {
        "batch": (batch, {(topic, 1): batch.ends[topic, 1]}),
        "record": (batch[2], {(topic, 1): 3}),
        "records": ([batch[4], batch[1]], {(topic, 1): 5}),
        "mapping": ({(topic, 1): 9, TopicPartition(topic, 2): 4}, {(topic, 1): 9, (topic, 2): 4}),
        "mapping with metadata": ({(topic, 1): SimpleNamespace(offset=11, metadata="text")}, {(topic, 1): 11, (topic, 2): 4}),
        "triples": ([(topic, 1, 12), (topic, 2, 5)], {(topic, 1): 12, (topic, 2): 5}),
        "one object": (other, {(topic, 1): 12, (topic, 2): 5, (topic, 3): 7}),
        "objects": (iter([other]), {(topic, 1): 12, (topic, 2): 5, (topic, 3): 7}),
        "items": ({(topic, 1): 0}.items(), {(topic, 1): 0, (topic, 2): 5, (topic, 3): 7}),
        "nothing": ({}, {(topic, 1): 0, (topic, 2): 5, (topic, 3): 7}),
        "the positions": (None, {(topic, 1): batch.ends[topic, 1], (topic, 2): 5, (topic, 3): 7}),
    }


@pytest.mark.parametrize("call", ["commit_sync", "commit_async"])
def test_every_form_of_offsets(broker, filled, call):
    with by_hand(broker, filled) as consumer:
        batch = one_batch(consumer, 20)
        for form, (what, wanted) in forms(filled, batch).items():
            if call == "commit_sync":
                consumer.commit_sync(what, 20)
            else:
                got = []
                consumer.commit_async(what, lambda *answer, got=got: got.append(answer))
                wait_for(lambda got=got: got)
                ((offsets, error),) = got
                assert error is None and offsets.items() <= wanted.items(), form
                assert all(isinstance(place, TopicPartition) for place in offsets)
            assert broker.committed(filled) == wanted, form


WRONG = [
    (5, TypeError, "offsets must be a ConsumedBatch"), ("t", TypeError, "offsets must be a ConsumedBatch"), ({("t", 0): -1}, ValueError, "^offset must be"),
    ({("t", 0): None}, TypeError, "^offset must be an int"), ({("t", 0): True}, TypeError, "^offset must be an int"), ({"t": 0}, TypeError, "offsets must be a mapping"),
    ([("t", 0)], TypeError, "offsets must be a mapping"), ([("t", 0, 1), ("t", 0, 2)], ValueError, r"twice: t \[0\]"), ([("t", 0, 2**63)], ValueError, "^offset must be"),
    ([("t", -1, 2)], ValueError, "^partition must be"), ([object()], TypeError, "offsets must be a mapping"), ([("", 0, 2)], ValueError, "^topic must"),
    (SimpleNamespace(topic="t", partition=0, offset=1, metadata=5), TypeError, "^metadata must be"),
]


@pytest.mark.parametrize("call", ["commit_sync", "commit_async"])
def test_malformed_offsets_are_refused_at_the_call(call):
    with KafkaConsumer({"bootstrap.servers": NOWHERE, "log_cb": lambda *line: None}) as consumer:
        for wrong, kind, words in WRONG:
            with pytest.raises(kind, match=words):
                getattr(consumer, call)(wrong)
        with pytest.raises(TypeError, match="callback must be callable"):
            consumer.commit_async({("t", 0): 1}, 5)
        assert consumer._ledger()["outstanding"] == 0


# -- callbacks ---------------------------------------------------------------------------------------------------------

def test_no_callback(broker, filled):
    """C8."""
    with by_hand(broker, filled) as consumer:
        consumer.commit_async({(filled, 1): 5})
    assert broker.committed(filled) == {(filled, 1): 5}


@pytest.mark.parametrize("polling", POLLINGS)
def test_one_callback_per_commit(broker, filled, polling):
    """C9, and C11 with Manual: all of them in poll_events()."""
    got, threads = [], set()

    def callback(offsets, error):
        threads.add(threading.current_thread())
        got.append((offsets, error))

    with by_hand(broker, filled, polling) as consumer:
        for record in records(consumer, COUNT):
            consumer.commit_async(record, callback)
        if polling is MANUAL:
            assert not got
            dispatched = 0
            while len(got) < COUNT:
                dispatched += consumer.poll_events(5)
            assert dispatched == COUNT and consumer.poll_events() == 0 and threads == {threading.current_thread()}
        else:
            wait_for(lambda: len(got) == COUNT)
            assert len(threads) == 1 and threads != {threading.current_thread()}
            with pytest.raises(RuntimeError, match="poll_events.. is for EventsPollingOption.Manual"):
                consumer.poll_events()
    assert got == [({(filled, 1): offset}, None) for offset in range(1, COUNT + 1)]


@pytest.mark.parametrize("polling", POLLINGS)
def test_callbacks_come_before_close_returns(broker, filled, polling):
    """C10."""
    got = []
    consumer = by_hand(broker, filled, polling)
    for offset in range(100):
        consumer.commit_async({(filled, 1): offset}, lambda offsets, error: got.append((offsets, error)))
    assert consumer._ledger()["outstanding"] > 0 or got
    consumer.close()
    assert got == [({(filled, 1): offset}, None) for offset in range(100)]
    assert consumer._ledger()["outstanding"] == 0


@pytest.mark.parametrize("what", ["poll", "poll_batch"])
def test_an_event_ends_the_wait_of_a_poll_that_dispatches(cluster, filled, what):
    """With Manual: a callback does not wait for the next check for signals, in a tenth of a second. The poll goes on."""
    moments = []
    with by_hand(cluster, filled, MANUAL) as consumer:
        batches(consumer, COUNT)
        cluster.set_rtt(1, 0.02)
        for _ in range(10):
            answered, begin = threading.Event(), time.monotonic()
            thread = threading.Thread(target=lambda event=answered: (event.wait(20), consumer.wakeup()))
            thread.start()
            consumer.commit_async(None, lambda *answer: (moments.append(time.monotonic() - begin), answered.set()))
            assert not getattr(consumer, what)(20)
            thread.join()
    assert len(moments) == 10 and min(moments) < 0.09


@pytest.mark.parametrize("polling", POLLINGS)
def test_what_a_callback_raises(broker, filled, polling, monkeypatch):
    """As what delivery callbacks raise: from the call that dispatches, else to sys.unraisablehook. Nothing else is lost."""
    unraisable, got = [], []
    monkeypatch.setattr("sys.unraisablehook", lambda args: unraisable.append(args.exc_value))

    def fails(offsets, error):
        got.append(offsets)
        raise ValueError(f"callback {len(got)}")

    with by_hand(broker, filled, polling) as consumer:
        consumer.commit_async({(filled, 1): 1}, fails)
        if polling is MANUAL:
            with pytest.raises(ValueError, match="callback 1"):
                while True:
                    consumer.poll(0.2, 1)
            assert consumer.position((filled, 1)) is not None
        else:
            wait_for(lambda: unraisable)
        consumer.commit_async({(filled, 1): 2}, fails)
        consumer.commit_async({(filled, 1): 3}, fails)
        if polling is MANUAL:
            with pytest.raises((ValueError, ExceptionGroup)):
                consumer.close()
        else:
            consumer.close()
            assert [str(one) for one in unraisable] == ["callback 1", "callback 2", "callback 3"]
    assert len(got) == 3


def test_a_callback_commits_again_but_must_not_wait(broker, filled):
    refused, got = [], []

    def again(offsets, error):
        for call in (consumer.commit_sync, consumer.poll, consumer.close):
            try:
                call()
            except RuntimeError as problem:
                refused.append(str(problem))
        consumer.commit_async({(filled, 1): 8}, lambda *answer: got.append(answer))

    with by_hand(broker, filled) as consumer:
        consumer.commit_async({(filled, 1): 7}, again)
        wait_for(lambda: got)
    assert len(refused) == 3 and all("from a callback of the same consumer, where it would deadlock" in text for text in refused)
    assert got == [({(filled, 1): 8}, None)] and broker.committed(filled) == {(filled, 1): 8}


@pytest.mark.parametrize("call", ["commit_sync", "poll", "close"])
def test_a_callback_that_commit_sync_runs_must_not_wait_either(broker, filled, call):
    """With Manual commit_sync runs the callbacks of commits before it. What they raise comes when its own commit is done."""
    with by_hand(broker, filled, MANUAL) as consumer:
        consumer.commit_async({(filled, 1): 7}, lambda offsets, error: getattr(consumer, call)())
        with pytest.raises(RuntimeError, match="from a callback of the same consumer, where it would deadlock"):
            consumer.commit_sync({(filled, 1): 8}, 20)
        assert broker.committed(filled) == {(filled, 1): 8} and not consumer.closed
        consumer.commit_sync({(filled, 1): 9}, 20)
        assert broker.committed(filled) == {(filled, 1): 9} and not consumer._ledger()["outstanding"]


def test_a_callback_raises_in_a_commit_that_fails_too(cluster, filled, monkeypatch):
    unraisable = []
    monkeypatch.setattr("sys.unraisablehook", lambda args: unraisable.append(str(args.exc_value)))

    def fails(offsets, error):
        raise ValueError(f"the callback of {offsets[filled, 1]}")

    with by_hand(cluster, filled, MANUAL) as consumer:
        for offset in (1, 2):
            consumer.commit_async({(filled, 1): offset}, fails)
        with pytest.raises(ExceptionGroup) as group:
            consumer.commit_sync({(filled, 1): 3}, 20)
        assert [str(one) for one in group.value.exceptions] == ["the callback of 1", "the callback of 2"] and not unraisable
        cluster.push_request_errors(ApiKey.OFFSET_COMMIT, 0, ErrorCode.RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED.value)
        consumer.commit_async({(filled, 1): 4}, fails)
        with pytest.raises(KafkaException, match=r"commit_sync\(\) failed: .*Group authorization failed"):
            consumer.commit_sync({(filled, 1): 5}, 20)
        assert unraisable == ["the callback of 4"] and cluster.committed(filled) == {(filled, 1): 4}


def test_five_consumers_each_commit_one_record_more(broker, filled):
    """C12: by an asynchronous commit of a record, a synchronous one, one of offsets, one of all; the last sees nothing."""
    ways = [lambda consumer, record: consumer.commit_async(record), lambda consumer, record: consumer.commit_sync(record, 20),
            lambda consumer, record: consumer.commit_sync({(filled, 1): record.offset + 1}, 20), lambda consumer, record: consumer.commit_sync(timeout=20)]
    for expected, commit in enumerate(ways):
        with by_hand(broker, filled, auto_offset_reset="earliest") as consumer:
            consumer.assign([(filled, 1)])
            (batch,) = batches(consumer, 1, max_records=1)
            assert batch[0].offset == expected and consumer.position((filled, 1)) == expected + 1
            commit(consumer, batch[0])
    with by_hand(broker, filled) as consumer:
        consumer.commit_sync({(filled, 1): COUNT}, 20)
        consumer.assign([(filled, 1)])
        assert not consumer.poll(0.3)


# -- errors ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "words"), [
    ("ILLEGAL_GENERATION", "commit again what it leaves assigned"), ("UNKNOWN_MEMBER_ID", "reads these records again"),
    ("REBALANCE_IN_PROGRESS", "will be read again"), ("GROUP_AUTHORIZATION_FAILED", "Group authorization failed"),
    ("OFFSET_METADATA_TOO_LARGE", "")])
@pytest.mark.parametrize("call", ["commit_sync", "commit_async"])
def test_errors_are_named(cluster, filled, call, name, words):
    with by_hand(cluster, filled) as consumer:
        consumer.commit_sync({(filled, 1): 1}, 20)
        cluster.push_request_errors(ApiKey.OFFSET_COMMIT, getattr(ErrorCode, f"RD_KAFKA_RESP_ERR_{name}").value)
        if call == "commit_sync":
            with pytest.raises(KafkaException, match=r"commit_sync\(\) failed: ") as raised:
                consumer.commit_sync({(filled, 1): 2}, 20)
            error = raised.value.error
        else:
            got = []
            consumer.commit_async({(filled, 1): 2}, lambda *answer: got.append(answer))
            wait_for(lambda: got)
            ((offsets, error),) = got
            assert offsets == {(filled, 1): 2}
        assert code(error) == name and words in error.message
        assert cluster.committed(filled) == {(filled, 1): 1}
        consumer.commit_sync({(filled, 1): 3}, 20)       # the next one succeeds
        assert cluster.committed(filled) == {(filled, 1): 3}


@pytest.mark.parametrize("polling", list(EventsPollingOption))
def test_no_earlier_commit_undoes_a_later_one(cluster, filled, polling):
    """librdkafka sends a commit again that a broker was not ready for."""
    got = []
    with by_hand(cluster, filled, polling) as consumer:
        cluster.push_request_errors(ApiKey.OFFSET_COMMIT, ErrorCode.RD_KAFKA_RESP_ERR_NOT_COORDINATOR.value)
        consumer.commit_async({(filled, 1): 5}, lambda *answer: got.append(answer))
        consumer.commit_sync({(filled, 1): 10}, 20)
        wait_for(lambda: got)
        assert got == [({(filled, 1): 5}, None)] and cluster.committed(filled) == {(filled, 1): 10}


@pytest.mark.parametrize("polling", list(EventsPollingOption))
def test_nor_does_it_in_on_rebalance_where_no_callback_of_a_commit_runs_with_manual(cluster, filled, polling):
    got = []

    def told(event, partitions):
        if event is RebalanceEvent.Revoked:
            cluster.push_request_errors(ApiKey.OFFSET_COMMIT, ErrorCode.RD_KAFKA_RESP_ERR_NOT_COORDINATOR.value)
            consumer.commit_async({(filled, 1): 5}, lambda *answer: got.append(answer))
            consumer.commit_sync({(filled, 1): 10}, 20)
            assert polling is EventsPollingOption.Auto or not got

    with by_hand(cluster, filled, polling) as consumer:
        consumer.assign([])
        consumer.subscribe([filled], told, 30)
        consumer.unsubscribe()
        if polling is MANUAL:
            assert not got and consumer.poll_events(20) == 1
        wait_for(lambda: got)
        assert got == [({(filled, 1): 5}, None)] and cluster.committed(filled) == {(filled, 1): 10}


def test_a_commit_that_waits_for_an_earlier_one_keeps_its_timeout(cluster, filled):
    with by_hand(cluster, filled) as consumer:
        cluster.set_rtt(None, 2)
        consumer.commit_async({(filled, 1): 5})
        with Stopwatch() as watch, pytest.raises(KafkaException, match=r"commit_sync\(\) has waited in vain") as raised:
            consumer.commit_sync({(filled, 1): 10}, 0.2)
        assert code(raised.value.error) == "_TIMED_OUT" and 0.2 <= watch.seconds < 1.5
        cluster.set_rtt(None, 0)
        consumer.commit_sync({(filled, 1): 11}, 20)
        assert cluster.committed(filled) == {(filled, 1): 11}


def test_a_failure_without_a_callback_is_logged_once_until_a_commit_succeeds(cluster, filled):
    lines = []
    with by_hand(cluster, filled, callbacks={"log_cb": lambda *line: lines.append(line)}) as consumer:
        for _ in range(2):
            cluster.push_request_errors(ApiKey.OFFSET_COMMIT, *[ErrorCode.RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED.value] * 3)
            for offset in range(4):
                consumer.commit_async({(filled, 1): offset})
                wait_for(lambda: not consumer._ledger()["outstanding"])
    said = [line for line in lines if line[1] == "COMMIT"]
    assert len(said) == 2 and said[0][0] == 4 and f"offsets were not committed ({filled} [1]): " in said[0][2]
    assert "Group authorization failed" in said[0][2]


def test_a_commit_keeps_its_timeout():
    with KafkaConsumer({"bootstrap.servers": NOWHERE, "log_cb": lambda *line: None}) as consumer:
        with Stopwatch() as watch, pytest.raises(TimeoutError, match="the offsets may still be committed"):
            consumer.commit_sync({("t", 0): 5}, 0.3)
        assert 0.3 <= watch.seconds < 10


# -- brokers that are gone ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("polling", POLLINGS)
def test_close_gives_all_callbacks_although_brokers_are_down(cluster, filled, polling, caplog):
    """CR1: without poll_events(), and within a second or so. CR2: a callback per commit, success or error."""
    got, down = [], threading.Event()
    consumer = by_hand(cluster, filled, polling, {"error_cb": lambda error: down.set() if code(error) == "_ALL_BROKERS_DOWN" else None})
    batches(consumer, COUNT)
    consumer.commit_async(None, lambda *answer: got.append(answer))
    wait_for(lambda: got or (polling is MANUAL and consumer.poll_events(0.1) and got))
    cluster.broker_down(None)
    for offset in range(10):
        consumer.commit_async({(filled, 1): offset}, lambda *answer: got.append(answer))
    wait_for(lambda: down.is_set() or (polling is MANUAL and consumer.poll_events(0.1) < 0))
    with caplog.at_level(logging.WARNING), Stopwatch() as watch:
        consumer.close()
    assert watch.seconds < 5
    assert got[0] == ({(filled, 1): COUNT}, None) and [offsets for offsets, _ in got[1:]] == [{(filled, 1): offset} for offset in range(10)]
    unanswered = [error for _, error in got[1:] if code(error) == "_DESTROY"]      # librdkafka 2.0.2 may fail them sooner
    assert all("closed before a broker has answered" in str(error) for error in unanswered)
    assert len(unanswered) == 10 or LIBRDKAFKA < (2, 1) and all(error for _, error in got[1:])
    if unanswered:
        wait_for(lambda: f"close() timed out, and {len(unanswered)} offsets are not known to be committed ({filled}: {len(unanswered)})" in caplog.text)


def test_commits_are_answered_when_the_brokers_come_back(cluster, filled):
    """CR2."""
    got = []
    with by_hand(cluster, filled) as consumer:
        consumer.commit_sync({(filled, 1): 1}, 20)
        cluster.broker_down(None)
        for offset in range(5):
            consumer.commit_async({(filled, 1): offset}, lambda *answer: got.append(answer))
        cluster.broker_up(None)
        wait_for(lambda: len(got) == 5, timeout=60)
    assert [offsets for offsets, _ in got] == [{(filled, 1): offset} for offset in range(5)]


def test_close_keeps_its_timeout():
    got = []
    consumer = KafkaConsumer({"bootstrap.servers": NOWHERE, "log_cb": lambda *line: None})
    consumer.commit_async({("t", 0): 5}, lambda *answer: got.append(answer))
    with Stopwatch() as watch:
        consumer.close(0.2)
    assert 0.2 <= watch.seconds < 5 and len(got) == 1 and code(got[0][1]) == "_DESTROY"


def test_one_that_is_dropped_open_gives_its_callbacks(broker, filled):
    got = []
    consumer = by_hand(broker, filled)
    consumer.commit_async({(filled, 1): 5}, lambda *answer: got.append(answer))
    with pytest.warns(ResourceWarning):
        del consumer
    wait_for(lambda: got)
    assert got == [({(filled, 1): 5}, None)]


@pytest.mark.parametrize("during", ["a rebalance", "none"])
def test_a_commit_of_an_illegal_generation_is_made_again_after_the_next_polls(cluster, topic, during):
    """During a rebalance it only came too late, but librdkafka before 2.6.1 may take that for a loss; else all is lost, and assigned again."""
    failures = []

    def commit(consumer, event=REVOKED, partitions=()):
        if event is REVOKED and not failures:
            cluster.push_request_errors(ApiKey.OFFSET_COMMIT, ErrorCode.RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION.value)
            with pytest.raises(KafkaException, match=r"too late, .*: go on with poll\(\), and commit again what it leaves assigned") as raised:
                consumer.commit_sync(timeout=20)
            failures.append(code(raised.value.error))

    with KafkaSyncProducer(properties(cluster)) as producer:
        for partition in range(4):
            producer.send_batch(topic, [b"v"] * COUNT, partition=partition)
    with ExitStack() as stack:
        members = [stack.enter_context(Member(cluster, topic, "cooperative", commit, enable_auto_commit=False))]
        members[0].subscribe(topic)
        poll_until(lambda: len(members[0].read) == 4 * COUNT, *members)
        if during == "none":
            commit(members[0].consumer)
            poll_until(lambda: LOST in [event for event, _ in members[0].events] and len(members[0].partitions) == 4, *members)
        else:
            members.append(stack.enter_context(Member(cluster, topic, "cooperative", enable_auto_commit=False)))
            members[1].subscribe(topic, timeout=None)
            poll_until(shared(*members), *members)
            assert LIBRDKAFKA < (2, 6, 1) or not members[0].told_of(LOST)
        assert failures == ["ILLEGAL_GENERATION"] and not cluster.committed(topic)
        kept = members[0].partitions
        poll_until(lambda: all(members[0].consumer.position((topic, partition)) == COUNT for partition in kept), *members)
        members[0].consumer.commit_sync(timeout=20)
        assert cluster.committed(topic) == {(topic, partition): COUNT for partition in kept}
