"""Refusals of the cluster amid a transaction, and what the caller must do: retry, abort, or start anew.

On the embedded cluster; librdkafka's own test 0105 as far as a producer's user meets it.
"""
import threading

import pytest
from helpers import Stopwatch, consume, wait_for
from transactional_producers import KINDS, Sent, create_sources, err, failing, kind_of, open_producer

from kafkapp import KafkaException
from kafkapp.testing import MockCluster

ALL = pytest.mark.parametrize("kind", KINDS)
OFFSETS = [("source", 3, 12), ("source2", 39, 999999111), ("source", 0, 999)]
GROUP = ("group", -1, "", None)      # of no member: nothing to fence
PASSING = ["COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "COORDINATOR_LOAD_IN_PROGRESS"]


@pytest.fixture(params=KINDS)
def producer(request, cluster):
    with open_producer(request.param, cluster) as producer:
        producer.init_transactions(10)
        yield producer


@pytest.fixture
def auto(cluster):
    with open_producer("auto", cluster) as producer:
        producer.init_transactions(10)
        yield producer


def push(cluster, api, *names):
    cluster.push_request_errors(api, *map(err, names))


def commit_one(producer, topic):
    """The proof that a producer goes on: a transaction of one record, committed."""
    sent = Sent(producer, topic)
    producer.begin_transaction()
    sent.send(b"proof")
    producer.commit_transaction(10)
    assert sent.codes == [None]


# -- retriable: kafkapp and librdkafka retry, the user sees nothing ------------------------------------------------------

@ALL
def test_passing_errors_of_every_step_are_not_seen(cluster, topic, kind):
    create_sources(cluster)
    push(cluster, "InitProducerId", *PASSING)
    with open_producer(kind, cluster, batch_num_messages=1) as producer:
        producer.init_transactions(20)
        sent = Sent(producer, topic)
        producer.begin_transaction()
        sent.send(b"first")
        producer.flush(10)
        push(cluster, "Produce", "NOT_ENOUGH_REPLICAS")
        sent.send(b"second")
        producer.flush(10)
        push(cluster, "AddPartitionsToTxn", "UNKNOWN_TOPIC_OR_PART", "CONCURRENT_TRANSACTIONS")
        sent.send(b"third", partition=1)
        push(cluster, "AddOffsetsToTxn", "CONCURRENT_TRANSACTIONS")
        push(cluster, "TxnOffsetCommit", "NOT_COORDINATOR", "CONCURRENT_TRANSACTIONS")
        producer.send_offsets_to_transaction(OFFSETS, GROUP, 20)
        push(cluster, "EndTxn", *PASSING)
        producer.commit_transaction(20)
        assert sent.codes == [None] * 3
    assert [m.value() for m in consume(cluster, topic, 3, crcs=False)] == [b"first", b"second", b"third"]


def test_init_waits_for_a_coordinator_that_loads_its_log(cluster, topic):
    """A cluster that has just started says so for seconds: librdkafka gives that out at the end of each slice."""
    push(cluster, "InitProducerId", *["COORDINATOR_LOAD_IN_PROGRESS"] * 4)
    with open_producer("auto", cluster) as producer:
        producer.init_transactions(30)
        commit_one(producer, topic)


@pytest.mark.parametrize("kind", ["auto", "sync"])
def test_init_that_ends_before_the_coordinator_has_its_log_says_why(cluster, topic, kind):
    push(cluster, "InitProducerId", *["COORDINATOR_LOAD_IN_PROGRESS"] * 1000)
    with open_producer(kind, cluster) as producer:
        with Stopwatch() as watch:
            error = failing(producer.init_transactions, 1.5)
        assert (error.code, kind_of(error)) == (err("COORDINATOR_LOAD_IN_PROGRESS"), "retriable")
        assert 1.4 < watch.seconds < 2.5
        cluster.clear_request_errors("InitProducerId")
        producer.init_transactions(20)
        commit_one(producer, topic)


def test_a_commit_waits_through_many_passing_errors(cluster, topic, auto):
    sent = Sent(auto, topic)
    auto.begin_transaction()
    sent.send()
    push(cluster, "EndTxn", *["COORDINATOR_NOT_AVAILABLE"] * 10)
    auto.commit_transaction(30)
    assert sent.codes == [None]


@pytest.mark.parametrize("end", ["commit_transaction", "abort_transaction"])
def test_a_cluster_that_goes_and_comes_back_amid_a_transaction_is_waited_for(cluster, topic, producer, end):
    sent = Sent(producer, topic)
    producer.begin_transaction()
    sent.send(b"before")
    producer.flush(10)
    cluster.broker_down(1)
    error = failing(getattr(producer, end), 0.3)
    assert (error.code, kind_of(error)) == (err("_TIMED_OUT"), "retriable")
    cluster.broker_up(1)
    getattr(producer, end)(20)
    commit_one(producer, topic)


@pytest.mark.parametrize("down", [1, 2])
def test_one_of_two_brokers_goes_and_comes_back(down):
    with MockCluster(brokers=2) as cluster, open_producer("auto", cluster) as producer:
        cluster.create_topic("t", partitions=2, replicas=2)
        producer.init_transactions(10)
        sent = Sent(producer, "t")
        producer.begin_transaction()
        for partition in (0, 1):
            sent.send(partition=partition)
        producer.flush(10)
        cluster.broker_down(down)
        for partition in (0, 1):
            sent.send(partition=partition)
        up = threading.Timer(0.5, cluster.broker_up, [down])
        up.start()
        producer.commit_transaction(20)
        up.join()
        assert sent.codes == [None] * 4


# -- abortable ---------------------------------------------------------------------------------------------------------

def test_a_record_that_is_refused_has_the_transaction_aborted(cluster, topic, producer):
    push(cluster, "Produce", "TOPIC_AUTHORIZATION_FAILED")
    sent = Sent(producer, topic)
    producer.begin_transaction()
    sent.send()
    producer.flush(10)
    assert sent.codes == [err("TOPIC_AUTHORIZATION_FAILED")]
    for call in (lambda: producer.send_offsets_to_transaction(OFFSETS, GROUP, 10), lambda: producer.commit_transaction(10)):
        assert kind_of(failing(call)) == "abortable"
    producer.abort_transaction(10)
    producer.fetch_broker_metadata(topic)       # or librdkafka remembers the refusal for a while
    # The refused record's sequence number is missing in the log: librdkafka may have to abort once more, for a new epoch.
    try:
        commit_one(producer, topic)
    except KafkaException as failure:
        assert kind_of(failure.error) == "abortable"
        producer.abort_transaction(10)
        commit_one(producer, topic)


def test_a_partition_that_may_not_be_added_has_the_transaction_aborted(cluster, topic, producer):
    push(cluster, "AddPartitionsToTxn", "TOPIC_AUTHORIZATION_FAILED")
    sent = Sent(producer, topic)
    producer.begin_transaction()
    sent.send()
    error = failing(producer.commit_transaction, 10)
    assert (error.code, kind_of(error)) == (err("TOPIC_AUTHORIZATION_FAILED"), "abortable")
    producer.abort_transaction(10)
    assert len(sent.codes) == 1 and sent.codes[0] is not None
    commit_one(producer, topic)


@pytest.mark.parametrize("api", ["AddOffsetsToTxn", "TxnOffsetCommit"])
def test_offsets_of_a_group_that_one_may_not_use_have_the_transaction_aborted(cluster, topic, producer, api):
    create_sources(cluster)
    push(cluster, api, "GROUP_AUTHORIZATION_FAILED")
    sent = Sent(producer, topic)
    producer.begin_transaction()
    sent.send()
    error = failing(producer.send_offsets_to_transaction, OFFSETS, GROUP, 10)
    assert (error.code, kind_of(error)) == (err("GROUP_AUTHORIZATION_FAILED"), "abortable")
    assert kind_of(failing(producer.commit_transaction, 10)) == "abortable"
    producer.abort_transaction(10)
    commit_one(producer, topic)


def test_the_context_aborts_what_has_to_be_aborted_and_raises(cluster, topic, producer):
    push(cluster, "AddPartitionsToTxn", "TOPIC_AUTHORIZATION_FAILED")
    sent = Sent(producer, topic)
    with pytest.raises(KafkaException) as failure, producer.transaction():
        sent.send()
    assert kind_of(failure.value.error) == "abortable"
    commit_one(producer, topic)     # begins: nothing was left open


def test_lost_sequences_are_abortable_and_the_next_transaction_has_a_new_epoch(cluster, topic, producer):
    sent = Sent(producer, topic)
    producer.begin_transaction()
    sent.send(b"first")
    producer.flush(10)
    push(cluster, "Produce", "UNKNOWN_PRODUCER_ID")
    sent.send(b"second")
    assert kind_of(failing(producer.commit_transaction, 10)) == "abortable"
    producer.abort_transaction(10)
    assert len(sent.codes) == 2 and sent.codes[1] is not None
    commit_one(producer, topic)


def test_a_record_that_timed_out_has_the_transaction_aborted(cluster, topic):
    # The proof at the end has the time of a message for a new connection: that comes soon, and has several tries.
    with open_producer("auto", cluster, message_timeout_ms=2000, reconnect_backoff_ms=50,
                       reconnect_backoff_max_ms=100) as producer:
        producer.init_transactions(10)
        commit_one(producer, topic)
        sent = Sent(producer, topic)
        producer.begin_transaction()
        cluster.broker_down(1)
        sent.send()
        wait_for(lambda: sent.codes)
        assert sent.codes == [err("_MSG_TIMED_OUT")]
        assert kind_of(failing(producer.commit_transaction, 5)) == "abortable"
        cluster.broker_up(1)
        producer.abort_transaction(20)
        commit_one(producer, topic)


def test_a_purge_amid_a_transaction_has_it_aborted(cluster, topic, producer):
    sent = Sent(producer, topic)
    producer.fetch_broker_metadata(topic)
    producer.begin_transaction()
    cluster.set_rtt(None, 0.3)
    sent.send()
    producer.purge()
    cluster.set_rtt(None, 0)
    assert kind_of(failing(producer.commit_transaction, 10)) == "abortable"
    assert sent.codes in ([err("_PURGE_QUEUE")], [err("_PURGE_INFLIGHT")])
    producer.abort_transaction(10)
    commit_one(producer, topic)


# -- the end of a transaction ------------------------------------------------------------------------------------------

ENDS = [    # what EndTxn is answered with; what the commit then is
    ("UNKNOWN_PRODUCER_ID", "UNKNOWN_PRODUCER_ID", "abortable"),
    ("INVALID_PRODUCER_ID_MAPPING", "INVALID_PRODUCER_ID_MAPPING", "abortable"),
    ("GROUP_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "abortable"),
    ("INVALID_MSG_SIZE", "INVALID_MSG_SIZE", "abortable"),
    ("INVALID_PRODUCER_EPOCH", "_FENCED", "fatal"),
    ("PRODUCER_FENCED", "_FENCED", "fatal"),
    ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "fatal"),
]


@pytest.mark.parametrize("answer, code, kind", ENDS, ids=[row[0] for row in ENDS])
@pytest.mark.parametrize("flushed", [True, False], ids=["flushed", "not flushed"])
def test_a_commit_that_the_coordinator_refuses(cluster, topic, auto, answer, code, kind, flushed):
    sent = Sent(auto, topic)
    auto.begin_transaction()
    sent.send()
    if flushed:
        auto.flush(10)
    push(cluster, "EndTxn", answer)
    error = failing(auto.commit_transaction, 10)
    assert (error.code, kind_of(error)) == (err(code), kind)
    assert sent.codes == [None]
    if kind == "abortable":
        auto.abort_transaction(10)
        commit_one(auto, topic)
    else:
        check_fatal(auto, topic, code)


@pytest.mark.parametrize("answer", ["INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"])
def test_an_abort_that_the_coordinator_refuses_is_fatal(cluster, topic, producer, answer):
    sent = Sent(producer, topic)
    producer.begin_transaction()
    sent.send()
    producer.flush(10)
    push(cluster, "EndTxn", answer)
    error = failing(producer.abort_transaction, 10)
    assert kind_of(error) == "fatal"
    check_fatal(producer, topic, error.code.name.removeprefix("RD_KAFKA_RESP_ERR_"))


@pytest.mark.parametrize("answer", ["UNKNOWN_PRODUCER_ID", "INVALID_PRODUCER_ID_MAPPING"])
def test_an_abort_of_what_the_coordinator_has_forgotten_succeeds(cluster, topic, producer, answer):
    sent = Sent(producer, topic)
    producer.begin_transaction()
    sent.send()
    producer.flush(10)
    push(cluster, "EndTxn", answer)
    producer.abort_transaction(10)
    commit_one(producer, topic)


# -- fatal -------------------------------------------------------------------------------------------------------------

def check_fatal(producer, topic, code):
    """Every call raises the fatal error from now on, at once, and the producer closes; another takes its place."""
    sent = Sent(producer, topic)
    for call in (producer.begin_transaction, producer.commit_transaction, producer.abort_transaction):
        with Stopwatch() as watch:
            error = failing(call)
        assert error.is_fatal and watch.seconds < 1
    batch = producer.send_batch(topic, [b"v"], partition=0)
    assert batch.done and batch.errors[0] in (err("_FATAL"), err("_STATE"), err(code)) and sent.codes == []
    with Stopwatch() as watch:
        producer.close(10)
    assert watch.seconds < 5


@pytest.mark.parametrize("api, code", [("InitProducerId", "CLUSTER_AUTHORIZATION_FAILED"),
                                       ("FindCoordinator", "CLUSTER_AUTHORIZATION_FAILED"),
                                       ("FindCoordinator", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED")])
@ALL
def test_init_transactions_reports_a_principal_without_permission(cluster, topic, kind, api, code):
    push(cluster, api, *[code] * 5)
    with open_producer(kind, cluster) as producer:
        with Stopwatch() as watch:
            error = failing(producer.init_transactions, 10)
        assert (error.code, kind_of(error)) == (err(code), "fatal") and watch.seconds < 5
        check_fatal(producer, topic, code)


@pytest.mark.parametrize("code", ["INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED"])
def test_one_that_is_fenced_while_it_gets_a_new_epoch(cluster, topic, producer, code):
    """After lost sequences an abort asks for a new epoch: by then another producer may have it."""
    sent = Sent(producer, topic)
    producer.begin_transaction()
    sent.send()
    producer.flush(10)
    push(cluster, "Produce", "UNKNOWN_PRODUCER_ID")
    push(cluster, "InitProducerId", code)
    sent.send()
    producer.flush(10)
    error = failing(producer.abort_transaction, 10)
    assert (error.code, kind_of(error)) == (err("_FENCED"), "fatal")
    check_fatal(producer, topic, "_FENCED")


def test_a_fenced_producer_fails_its_records_and_its_context_raises(cluster, topic, producer):
    sent = Sent(producer, topic)
    with pytest.raises(KafkaException) as failure, producer.transaction():
        push(cluster, "AddPartitionsToTxn", "PRODUCER_FENCED")
        sent.send()
    assert failure.value.error.is_fatal
    producer.close(10)
    assert len(sent.codes) == 1 and sent.codes[0] is not None
    with open_producer("auto", cluster) as another:
        another.init_transactions(10)
        commit_one(another, topic)
