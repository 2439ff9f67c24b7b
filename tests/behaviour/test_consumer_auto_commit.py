"""What a consumer commits by itself: one poll behind, the rest when it is closed; never what may not have been processed.

Row C14 of the C++ API's own tests. Each consumer's group is called as the topic.
"""
import logging
import signal
import threading
import time

import pytest
from consumers import batches
from helpers import NOWHERE, Stopwatch, properties, wait_for

from kafkapp import ErrorCode, EventsPollingOption, KafkaConsumer, KafkaException, KafkaSyncProducer, Offset, RebalanceEvent
from kafkapp.testing import ApiKey

COUNT = 50


@pytest.fixture
def filled(request, topic):
    """A topic with so many records in partitions 1 and 2."""
    cluster = request.getfixturevalue("cluster" if "cluster" in request.fixturenames else "broker")
    with KafkaSyncProducer(properties(cluster)) as producer:
        for partition in (1, 2):
            producer.send_batch(topic, [b"v"] * COUNT, partition=partition)
    return topic


def reader(cluster, topic, polling=EventsPollingOption.Auto, partitions=(1,), **more):
    consumer = KafkaConsumer(properties(cluster, {"group.id": topic, "fetch.wait.max.ms": 20}, **more), polling)
    consumer.assign({(topic, partition): 0 for partition in partitions})
    return consumer


def read(consumer, count):
    """Read so many records, each by a poll of its own that returns it."""
    for _ in range(count):
        ((record,),) = [batch for batch in batches(consumer, 1, max_records=1) if batch]
    return record



@pytest.mark.parametrize("polling", list(EventsPollingOption))
def test_it_commits_one_poll_behind_and_the_rest_at_the_end(broker, filled, polling):
    """C14. A poll that comes while a commit is under way does not commit; the next one does."""
    with reader(broker, filled, polling) as consumer:
        for count in range(1, 8):
            record = read(consumer, 1)
            assert record.offset == count - 1 and consumer.position((filled, 1)) == count
            if polling is EventsPollingOption.Manual:
                while consumer._ledger()["outstanding"]:
                    consumer.poll_events(5)
            wait_for(lambda: not consumer._ledger()["outstanding"])
            assert broker.committed(filled) == ({(filled, 1): count - 1} if count > 1 else {})
    assert broker.committed(filled) == {(filled, 1): 7}


def test_an_empty_poll_commits_too(broker, filled):
    with reader(broker, filled) as consumer:
        read(consumer, COUNT)
        wait_for(lambda: not consumer.poll(0) and broker.committed(filled) == {(filled, 1): COUNT})


def test_nothing_new_is_not_committed_again(cluster, filled):
    with reader(cluster, filled) as consumer:
        read(consumer, 5)
        consumer.pause()
        wait_for(lambda: not consumer.poll(0) and cluster.committed(filled) == {(filled, 1): 5})
        wait_for(lambda: not consumer._ledger()["outstanding"])
        cluster.push_request_errors(ApiKey.OFFSET_COMMIT, ErrorCode.RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED.value)
        for _ in range(5):
            consumer.poll(0.02)
        with pytest.raises(KafkaException, match="Group authorization failed"):     # the next commit is this one
            consumer.commit_sync({(filled, 1): 5}, 20)


def test_the_end_of_a_partition_is_no_record(broker, filled):
    """The C++ API commits one more than the end, and skips the next record."""
    with reader(broker, filled, enable_partition_eof=True) as consumer:
        end = time.monotonic() + 20
        while not consumer.poll_batch(1).eofs:
            assert time.monotonic() < end
    assert broker.committed(filled) == {(filled, 1): COUNT}


def test_an_exception_leaves_out_what_the_last_poll_returned(broker, filled):
    with pytest.raises(ZeroDivisionError), reader(broker, filled) as consumer:
        read(consumer, 4)
        raise ZeroDivisionError     # the fourth was not processed
    assert broker.committed(filled) == {(filled, 1): 3}


@pytest.mark.parametrize("polling", list(EventsPollingOption))
def test_a_close_in_another_thread_leaves_it_out_too(broker, filled, polling):
    consumer = reader(broker, filled, polling)
    read(consumer, 4)
    thread = threading.Thread(target=consumer.close)
    thread.start()
    thread.join()
    assert broker.committed(filled) == {(filled, 1): 3} and consumer.closed


def test_one_that_is_dropped_open_commits_no_more(broker, filled):
    consumer = reader(broker, filled)
    read(consumer, 3)
    with pytest.warns(ResourceWarning):
        del consumer
    assert broker.committed(filled).get((filled, 1), 0) < 3


def test_a_seek_back_counts(broker, filled):
    """Who seeks back to a record that was not processed finds it again after a crash."""
    with reader(broker, filled) as consumer:
        read(consumer, 10)
        consumer.pause()
        consumer.seek((filled, 1), 4)
        wait_for(lambda: not consumer.poll(0) and broker.committed(filled) == {(filled, 1): 4})
        consumer.seek_to_beginning()
    assert broker.committed(filled) == {(filled, 1): 4}


def test_where_to_begin_is_not_committed(broker, filled):
    with reader(broker, filled) as consumer:
        consumer.assign({(filled, 1): 30, (filled, 2): Offset.End})
        consumer.seek((filled, 1), COUNT)
        for _ in range(3):
            consumer.poll(0.05)
    assert broker.committed(filled) == {}


def test_what_is_not_assigned_any_more_is_committed_when_the_next_poll_begins(broker, filled):
    with reader(broker, filled) as consumer:
        read(consumer, 3)
        consumer.assign({(filled, 2): 0})
        assert broker.committed(filled).get((filled, 1), 0) < 3
        read(consumer, 4)
    assert broker.committed(filled) == {(filled, 1): 3, (filled, 2): 4}


def test_a_failed_commit_is_repeated_and_logged_once(cluster, filled):
    lines = []
    consumer = KafkaConsumer(properties(cluster, {"group.id": filled, "log_cb": lambda *line: lines.append(line)}))
    with consumer:
        consumer.assign({(filled, 1): 0})
        consumer.committed([(filled, 1)])       # the group's broker is known
        cluster.push_request_errors(ApiKey.OFFSET_COMMIT, *[ErrorCode.RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED.value] * 2)
        read(consumer, 1)
        consumer.pause()
        with Stopwatch() as watch:
            while not (found := cluster.committed(filled)):
                consumer.poll(0.01)
        assert found == {(filled, 1): 1} and 0.2 <= watch.seconds < 5       # not again with the next poll
    assert len([line for line in lines if line[1] == "COMMIT"]) == 1


def test_what_is_lost_is_not_committed_again(cluster, filled):
    with reader(cluster, filled) as consumer:
        consumer.committed([(filled, 1)])
        cluster.push_request_errors(ApiKey.OFFSET_COMMIT, ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID.value)
        read(consumer, 1)
        consumer.pause()
        for _ in range(3):
            consumer.poll(0)
            wait_for(lambda: not consumer._ledger()["outstanding"])
    assert cluster.committed(filled) == {}


@pytest.mark.parametrize("refused", [22, 27, 113])     # ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, STALE_MEMBER_EPOCH, which is new
def test_what_a_rebalance_has_refused_is_committed_after_it(cluster, filled, refused):
    """Rebalances that take some partitions only leave the others, and nothing more may be read from these before they go."""
    with reader(cluster, filled) as consumer:
        consumer.committed([(filled, 1)])
        cluster.push_request_errors(ApiKey.OFFSET_COMMIT, refused)
        read(consumer, 1)
        consumer.pause()
        consumer.poll(0)
        wait_for(lambda: not consumer._ledger()["outstanding"])
        assert cluster.committed(filled) == {}
        wait_for(lambda: not consumer.poll(0) and cluster.committed(filled) == {(filled, 1): 1})


class Interrupted(Exception):
    pass


def test_what_was_revoked_is_not_committed_later_when_a_signal_ended_its_last_commit(cluster, filled):
    """It may be another member's then, whose commit would be undone."""
    def interrupt(*_):
        raise Interrupted

    def told(event, partitions):
        if event is RebalanceEvent.Revoked and not timers:
            timers.append(threading.Timer(0.3, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1)))
            timers[0].start()
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send(f"{filled}-2", b"v")
    timers, before = [], signal.signal(signal.SIGUSR1, interrupt)
    try:
        with KafkaConsumer(properties(cluster, {"group.id": filled, "auto.offset.reset": "earliest", "session.timeout.ms": 4000})) as consumer:
            consumer.subscribe([filled], told, 30)
            cluster.push_broker_errors(1, ApiKey.OFFSET_COMMIT, (0, 2))
            read(consumer, 3)       # the commit of the first waits for its answer, and the second's for that
            consumer.subscribe([f"{filled}-2"], told)
            with pytest.raises(Interrupted):
                wait_for(lambda: consumer.poll(0.02) and False)
            timers[0].join()
            wait_for(lambda: not consumer._ledger()["outstanding"])
            before_joining = cluster.committed(filled)
            assert list(before_joining.values()) == [1] and not consumer.assignment()
            wait_for(lambda: not consumer.poll(0.02) and consumer.assignment())
            consumer.pause()
            consumer.poll(0)
            wait_for(lambda: not consumer._ledger()["outstanding"])
            assert cluster.committed(filled) == before_joining
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("end", ["unsubscribe", "close"])
@pytest.mark.parametrize("polling", list(EventsPollingOption))
def test_no_earlier_commit_undoes_that_of_what_is_revoked(cluster, filled, polling, end):
    """librdkafka sends a commit again that a broker was not ready for. No callback of a commit runs in a rebalance with Manual."""
    got, events = [], []
    consumer = KafkaConsumer(properties(cluster, {"group.id": filled, "fetch.wait.max.ms": 20, "auto.offset.reset": "earliest"}), polling)
    with consumer:
        consumer.subscribe([filled], lambda event, partitions: events.append(event), 30)
        consumer.pause()
        consumer.resume([(filled, 1)])
        cluster.push_request_errors(ApiKey.OFFSET_COMMIT, ErrorCode.RD_KAFKA_RESP_ERR_NOT_COORDINATOR.value)
        read(consumer, 2)       # begins the commit of the first
        consumer.commit_async({(filled, 3): 1}, lambda *answer: got.append(answer))
        read(consumer, 1)
        getattr(consumer, end)()
        wait_for(lambda: got or (polling is EventsPollingOption.Manual and consumer.poll_events(0.1) and got))
        assert cluster.committed(filled) == {(filled, 1): 2 if end == "unsubscribe" else 3, (filled, 3): 1}
        assert events == [RebalanceEvent.Assigned, RebalanceEvent.Revoked]
    assert got == [({(filled, 3): 1}, None)]


@pytest.mark.parametrize("refused", [ErrorCode.RD_KAFKA_RESP_ERR_NOT_COORDINATOR, ErrorCode.RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED])
@pytest.mark.parametrize("polling", list(EventsPollingOption))
def test_no_earlier_commit_undoes_the_last_one(cluster, filled, polling, refused):
    """close() begins while it is under way: the first error has librdkafka send it again, the other has its offsets be due again."""
    with reader(cluster, filled, polling) as consumer:
        consumer.committed([(filled, 1)])       # the group's broker is known
        cluster.push_broker_errors(1, ApiKey.OFFSET_COMMIT, (refused.value, 0.7))
        read(consumer, 3)       # begins the commit of the first, which those of the others wait for
        consumer.close(30)
    assert cluster.committed(filled) == {(filled, 1): 3}


def test_close_after_one_that_a_signal_has_ended_commits(cluster, filled):
    """What was not answered then, and was refused."""
    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.5, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1))
    try:
        with reader(cluster, filled) as consumer:
            read(consumer, 1)
            cluster.push_broker_errors(1, ApiKey.OFFSET_COMMIT, (ErrorCode.RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED.value, 4))
            with pytest.raises(Interrupted):
                timer.start()
                consumer.close(30)
            timer.join()
            assert not consumer.closed and cluster.committed(filled) == {}
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert cluster.committed(filled) == {(filled, 1): 1}


def test_the_interval_is_kept(broker, filled):
    with reader(broker, filled, auto_commit_interval_ms=60_000) as consumer:
        assert consumer.get_property("auto.commit.interval.ms") == "60000"
        read(consumer, 2)
        wait_for(lambda: broker.committed(filled) == {(filled, 1): 1})
        read(consumer, 7)
        assert broker.committed(filled) == {(filled, 1): 1}
    assert broker.committed(filled) == {(filled, 1): 9}


def test_close_is_bounded_while_brokers_are_down_and_says_what_was_not_committed(cluster, filled, caplog):
    consumer = reader(cluster, filled)
    read(consumer, 5)
    cluster.broker_down(None)
    with caplog.at_level(logging.WARNING), Stopwatch() as watch:
        consumer.close()
        wait_for(lambda: "offsets were not committed" in caplog.text)
    assert watch.seconds < 10 and f"offsets were not committed ({filled} [1]): " in caplog.text


def test_close_without_a_broker_takes_a_second_or_so():
    known = threading.Event()
    consumer = KafkaConsumer({"bootstrap.servers": NOWHERE, "log_cb": lambda *line: None, "error_cb": lambda error: (
        error.code == ErrorCode.RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN and known.set())})
    consumer.commit_async({("t", 0): 5})
    assert known.wait(20)
    with Stopwatch() as watch:
        consumer.close()
    assert watch.seconds < 4.9     # five without it


@pytest.mark.parametrize("call", ["commit_sync", "commit_async"])
def test_close_waits_longer_when_a_broker_has_answered_again(cluster, filled, call):
    """With Manual, so that it is known when an error or a commit is dispatched."""
    said, lines = [], []
    callbacks = {"error_cb": lambda error: said.append(error.code), "log_cb": lambda *line: lines.append(line)}
    consumer = KafkaConsumer(properties(cluster, callbacks, group_id=filled, reconnect_backoff_max_ms=100, auto_commit_interval_ms=60_000),
                             EventsPollingOption.Manual)

    def commit(offset):
        getattr(consumer, call)({(filled, 2): offset})
        while consumer.poll_events(0.1) or consumer._ledger()["outstanding"]:
            pass

    with consumer:
        consumer.assign({(filled, 1): 0})
        read(consumer, 2)
        wait_for(lambda: consumer.poll_events(0.1) or cluster.committed(filled))     # nor does it commit another time before its end
        cluster.broker_down(None)
        while ErrorCode.RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN not in said:
            consumer.poll_events(0.1)
        cluster.broker_up(None)
        commit(1)
        commit(2)       # all that has come before it is dispatched
        cluster.push_broker_errors(1, ApiKey.OFFSET_COMMIT, (0, 2))
    assert cluster.committed(filled) == {(filled, 1): 2, (filled, 2): 2}
    assert "COMMIT" not in [line[1] for line in lines]


def test_it_can_be_turned_off(broker, filled):
    with reader(broker, filled, enable_auto_commit=False) as consumer:
        assert consumer.properties["enable.auto.commit"] == consumer.get_property("enable.auto.commit") == "false"
        read(consumer, 5)
        read(consumer, 5)
    assert broker.committed(filled) == {}
    with reader(broker, filled) as consumer:
        assert consumer.properties["enable.auto.commit"] == consumer.get_property("enable.auto.commit") == "true"
        assert consumer.get_property("auto.commit.interval.ms") == "0"
