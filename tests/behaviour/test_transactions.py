"""Transactions: calls in and out of order, offsets, timeouts, several threads.

On the embedded cluster; librdkafka's own tests 0103 and 0105 as far as a producer's user meets them.
The context and Ctrl-C are in test_transaction_context.py, errors in test_transaction_errors.py, readers in kafka/.
"""
import sys
import threading
import warnings
from types import SimpleNamespace

import pytest
from helpers import NOWHERE, Stopwatch, consume, wait_for
from transactional_producers import KINDS, Sent, counted, create_sources, err, failing, kind_of, open_producer

from kafkapp import KafkaException, ProducerRecord
from kafkapp.client import blocking_calls as requests
from kafkapp.testing import ApiKey

ALL = pytest.mark.parametrize("kind", KINDS)
GROUP = ("group", -1, "", None)      # of no member: nothing to fence


@pytest.fixture(params=KINDS)
def producer(request, cluster):
    """Initialised, of each kind."""
    with open_producer(request.param, cluster) as producer:
        producer.init_transactions(10)
        yield producer


# -- the calls ---------------------------------------------------------------------------------------------------------

def test_records_of_transactions_are_delivered_and_their_callbacks_run_during_the_commit(cluster, topic, producer):
    for round in range(3):
        sent = Sent(producer, topic)
        producer.begin_transaction()
        for number in range(5):
            sent.send(f"{round}-{number}")
        producer.commit_transaction(10)
        assert sent.codes == [None] * 5 and len(producer) == 0
    read = [m.value().decode() for m in consume(cluster, topic, 15, crcs=False)]
    assert read == [f"{r}-{n}" for r in range(3) for n in range(5)]


def test_what_is_in_flight_is_purged_by_an_abort_and_reported_during_it(cluster, topic, producer):
    producer.fetch_broker_metadata(topic)
    cluster.broker_down(1)
    sent = Sent(producer, topic)
    producer.begin_transaction()
    for number in range(5):
        sent.send()
    cluster.broker_up(1)
    producer.abort_transaction(10)
    assert len(sent.codes) == 5 and len(producer) == 0
    assert set(sent.codes) <= {None, err("_PURGE_QUEUE"), err("_PURGE_INFLIGHT")}
    with producer.transaction():
        sent.send(b"next")
    assert sent.codes[5:] == [None]


@ALL
def test_a_call_out_of_order_says_which_comes_first(cluster, kind):
    group = ("g", -1, "", None)
    with open_producer(kind, cluster) as producer:
        producer.init_transactions(10)
        for call, first in (
            (producer.init_transactions, "is called once, before the first begin_transaction()"),
            (producer.commit_transaction, "begin_transaction() comes before commit_transaction()"),
            (producer.abort_transaction, "begin_transaction() comes before abort_transaction()"),
            (
                lambda: producer.send_offsets_to_transaction([("t", 0, 1)], group),
                "begin_transaction() comes before send_offsets_to_transaction()",
            ),
        ):
            with pytest.raises(KafkaException) as refused:
                call()
            assert refused.value.error.code == err("_STATE")
            assert any(first in note for note in refused.value.__notes__)


@ALL
def test_t2_calls_out_of_order_raise_and_empty_transactions_succeed(cluster, kind):
    """The C++ test CatchException (T2); librdkafka's 0103 misuse."""
    with open_producer(kind, cluster, transactional_id="") as plain:
        assert failing(plain.init_transactions, 5).code == err("_NOT_CONFIGURED")
        assert failing(plain.begin_transaction).code == err("_NOT_CONFIGURED")
    with open_producer(kind, cluster) as producer:
        for call in (producer.begin_transaction, producer.commit_transaction, producer.abort_transaction):
            error = failing(call)
            assert (error.code, kind_of(error)) == (err("_STATE"), "none")
        with pytest.raises(KafkaException) as refused:
            producer.begin_transaction()
        assert any("init_transactions() comes first" in note for note in refused.value.__notes__)
        producer.init_transactions(10)
        with pytest.raises(KafkaException, match=r"within begin_transaction\(\)"):
            producer.send(ProducerRecord("t", value=b"v"))
        for call in (producer.commit_transaction, producer.abort_transaction):
            assert failing(call, 5).code == err("_STATE")
        producer.begin_transaction()
        assert failing(producer.begin_transaction).code == err("_STATE")
        producer.abort_transaction(10)
        producer.begin_transaction()
        producer.commit_transaction(10)
        assert failing(producer.commit_transaction, 5).code == err("_STATE")
        assert failing(producer.init_transactions, 5).code == err("_STATE")


@ALL
def test_empty_transactions_ask_the_cluster_nothing_unless_they_have_offsets(cluster, kind):
    create_sources(cluster)
    with counted(kind, cluster) as (producer, count):
        producer.init_transactions(10)
        for end in (producer.commit_transaction, producer.abort_transaction):
            producer.begin_transaction()
            end(10)
        assert count(ApiKey.InitProducerId) >= 1 and count(ApiKey.EndTxn) == 0
        for end in (producer.commit_transaction, producer.abort_transaction):
            producer.begin_transaction()
            producer.send_offsets_to_transaction([("source", 0, 5)], GROUP, 10)
            end(10)
        assert (count(ApiKey.EndTxn), count(ApiKey.TxnOffsetCommit)) == (2, 2)


def test_a_send_outside_of_a_transaction_is_refused_and_never_reported(cluster, topic, producer):
    sent = Sent(producer, topic)

    def refused():
        if hasattr(producer, "try_send"):
            assert producer.try_send(ProducerRecord(topic, 0, value=b"v"), sent.on_report).code == err("_STATE")
        return failing(producer.send, ProducerRecord(topic, 0, value=b"v")).code == err("_STATE")

    assert refused()
    producer.begin_transaction()
    sent.send()
    producer.commit_transaction(10)
    assert refused()
    producer.begin_transaction()
    producer.abort_transaction(10)
    assert refused()
    batch = producer.send_batch(topic, [b"a", b"b"], partition=0)
    assert batch.done and list(batch.errors) == [err("_STATE")] * 2
    assert sent.codes == [None]
    consume(cluster, topic, 1, crcs=False)


@ALL
def test_a_callback_may_not_wait_for_its_own_transaction(cluster, topic, kind):
    refused = []
    with open_producer(kind, cluster) as producer:
        producer.init_transactions(10)
        calls = [producer.init_transactions, producer.begin_transaction, producer.commit_transaction,
                 producer.abort_transaction, lambda: producer.send_offsets_to_transaction([("t", 0, 1)], GROUP)]

        def callback(*report):
            for call in calls:
                with pytest.raises(RuntimeError, match="callback"):
                    call()
                refused.append(call)

        with producer.transaction():
            producer.send_batch(topic, [b"v"], partition=0, callback=callback, timeout=0)
    assert refused == calls
    for call in calls:
        with pytest.raises(RuntimeError, match="closed"):
            call()


def test_a_callback_that_raises_during_a_commit_by_hand_is_raised_after_it(cluster, topic):
    with open_producer("manual", cluster) as producer:
        producer.init_transactions(10)

        def raises(metadata, error):
            raise LookupError("of the callback")

        producer.begin_transaction()
        producer.send(ProducerRecord(topic, 0, value=b"v"), raises)
        with pytest.raises(LookupError, match="of the callback"):
            producer.commit_transaction(10)
        producer.begin_transaction()        # it was committed
        producer.abort_transaction(10)


# -- offsets -----------------------------------------------------------------------------------------------------------

def test_offsets_may_come_in_any_iterable_and_none_at_all(cluster, topic, producer):
    create_sources(cluster)
    for offsets in ([], [("source", 0, 5), ["source", 1, 0]], iter([("source", 0, 6)]), {("source", 3, 2**63 - 1)}):
        producer.begin_transaction()
        producer.send_offsets_to_transaction(offsets, GROUP, 10)
        producer.commit_transaction(10)


def raising():
    yield ("source", 0, 1)
    raise LookupError("of the iterable")


def place(**changes):
    return SimpleNamespace(**{"topic": "source", "partition": 0, "offset": 1} | changes)


BAD_OFFSETS = {
    "no iterable": (5, GROUP, TypeError, "iterable"),
    "no tuples": (["source"], GROUP, TypeError, "tuples"),
    "two parts": ([("source", 1)], GROUP, TypeError, "tuples"),
    "four parts": ([("source", 1, 1, 1)], GROUP, TypeError, "tuples"),
    "topic of bytes": ([(b"source", 0, 1)], GROUP, TypeError, "topic"),
    "no topic": ([("", 0, 1)], GROUP, ValueError, "topic"),
    "NUL": ([("a\0b", 0, 1)], GROUP, ValueError, "topic"),
    "surrogate": ([("\ud800", 0, 1)], GROUP, ValueError, "topic|surrogate"),
    "negative partition": ([("source", -1, 1)], GROUP, ValueError, "partition"),
    "large partition": ([("source", 2**31, 1)], GROUP, ValueError, "partition"),
    "partition of text": ([("source", "0", 1)], GROUP, TypeError, "partition"),
    "boolean": ([("source", True, 1)], GROUP, TypeError, "partition"),
    "negative offset": ([("source", 0, -1001)], GROUP, ValueError, "offset"),
    "large offset": ([("source", 0, 2**63)], GROUP, ValueError, "offset"),
    "offset of float": ([("source", 0, 1.0)], GROUP, TypeError, "offset"),
    "raises": (raising(), GROUP, LookupError, "of the iterable"),
    "dict of names": ({"source": 1}, GROUP, TypeError, "keys must be .topic, partition."),
    "dict of nothing": ({("source", 0): None}, GROUP, TypeError, "offset must be an int, not NoneType"),
    "dict of a negative offset": ({("source", 0): -1001}, GROUP, ValueError, "offset must be from 0"),
    "half an object": ([SimpleNamespace(topic="source", partition=0)], GROUP, TypeError, "topic, partition and offset"),
    "object of a negative offset": ([place(offset=-1)], GROUP, ValueError, "offset must be from 0"),
    "metadata of bytes": ([place(metadata=b"m")], GROUP, TypeError, "metadata must be a str, not bytes"),
    "NUL in metadata": ([place(metadata="a\0")], GROUP, ValueError, "metadata"),
    "no group": ([("source", 0, 1)], None, TypeError, "group_id, generation_id, member_id, group_instance_id"),
    "empty group": ([("source", 0, 1)], "", ValueError, "group must not be empty"),
    "NUL in group": ([("source", 0, 1)], "a\0", ValueError, "group"),
    "surrogate in group": ([("source", 0, 1)], "\udfff", ValueError, "group|surrogate"),
    "group of bytes": ([("source", 0, 1)], b"group", ValueError, "consumer_group_metadata"),
    "three of a group": ([("source", 0, 1)], ("group", 1, "member"), TypeError, "not 3 things"),
    "generation of text": ([("source", 0, 1)], ("group", "1", "member", None), TypeError, "generation_id"),
    "small generation": ([("source", 0, 1)], ("group", -2, "member", None), ValueError, "generation_id"),
    "large generation": ([("source", 0, 1)], ("group", 2**31, "member", None), ValueError, "generation_id"),
    "member of bytes": ([("source", 0, 1)], ("group", 1, b"member", None), TypeError, "member_id"),
    "NUL in the member": ([("source", 0, 1)], ("group", 1, "a\0", None), ValueError, "member_id"),
    "empty instance": ([("source", 0, 1)], ("group", 1, "member", ""), ValueError, "group_instance_id"),
    "no name in the metadata": ([("source", 0, 1)], ("", 1, "member", None), ValueError, "group_id"),
}


@pytest.mark.parametrize("offsets, group, kind, text", BAD_OFFSETS.values(), ids=BAD_OFFSETS)
def test_bad_offsets_raise_and_leave_the_transaction_as_it_is(broker, offsets, group, kind, text):
    with open_producer("auto", broker) as producer:
        producer.init_transactions(10)
        producer.begin_transaction()
        with pytest.raises(kind, match=text):
            producer.send_offsets_to_transaction(offsets, group, 10)
        producer.commit_transaction(10)


def confluent_metadata(group=b"group", member=b"member", instance=None):
    """As confluent-kafka's consumer_group_metadata() has it, of generation 3."""
    end = b"\1" if instance is None else b"\0" + instance + b"\0"
    return b"CGMDv2:" + (3).to_bytes(4, sys.byteorder) + group + b"\0" + member + b"\0" + end


@pytest.mark.parametrize("instance", [None, b"instance"])
def test_bytes_that_are_no_whole_metadata_are_refused(broker, instance):
    whole = confluent_metadata(instance=instance)
    broken = [whole[:length] for length in range(len(whole))] + [
        whole + b"\0", whole + b"more", b"CGMDv1:" + whole[7:], confluent_metadata(group=b""), whole[:-1] + b"\2"]
    with open_producer("auto", broker) as producer:
        producer.init_transactions(10)
        producer.begin_transaction()
        for group in broken:
            with pytest.raises(ValueError, match="consumer_group_metadata"):
                producer.send_offsets_to_transaction([("source", 0, 1)], group, 10)
        producer.send_offsets_to_transaction([], whole, 10)
        producer.abort_transaction(10)


def test_a_bare_name_warns_at_the_line_that_gives_it_and_as_an_error_does_nothing(cluster):
    create_sources(cluster)
    with counted("auto", cluster) as (producer, count):
        producer.init_transactions(10)
        producer.begin_transaction()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserWarning, match="does not fence"):
                producer.send_offsets_to_transaction([("source", 0, 1)], "group", 10)
        assert count(ApiKey.TxnOffsetCommit) == 0
        with pytest.warns(UserWarning, match="does not fence") as caught:
            producer.send_offsets_to_transaction([("source", 0, 1)], "group", 10)
        assert [each.filename for each in caught] == [__file__]
        producer.commit_transaction(10)
        assert count(ApiKey.TxnOffsetCommit) == 1


# -- timeouts and other threads ----------------------------------------------------------------------------------------

def test_init_that_timed_out_is_resumed(cluster):
    with open_producer("auto", cluster) as producer:
        cluster.set_rtt(None, 0.4)
        with Stopwatch() as watch:
            error = failing(producer.init_transactions, 0.1)
        assert (error.code, kind_of(error)) == (err("_TIMED_OUT"), "retriable") and watch.seconds < 0.4
        producer.init_transactions(10)
        producer.begin_transaction()
        producer.abort_transaction(10)


@ALL
def test_init_without_a_cluster_ends_with_its_time(kind):
    with open_producer(kind, NOWHERE, message_timeout_ms=1000) as producer:
        for _ in range(2):
            with Stopwatch() as watch:
                error = failing(producer.init_transactions, 0.3)
            assert error.is_retriable and not error.is_fatal
            assert 0.25 < watch.seconds < 1.3


@pytest.mark.parametrize("end", ["commit_transaction", "abort_transaction"])
def test_an_end_that_timed_out_is_resumed_and_conflicts_with_other_calls_until_then(cluster, topic, producer, end):
    sent = Sent(producer, topic)
    producer.begin_transaction()
    sent.send()
    producer.flush(10)
    cluster.push_broker_errors(1, ApiKey.EndTxn, (0, 0.6))
    error = failing(getattr(producer, end), 0.1)
    assert (error.code, kind_of(error)) == (err("_TIMED_OUT"), "retriable")
    other = "abort_transaction" if end == "commit_transaction" else "commit_transaction"
    error = failing(getattr(producer, other), 0.1)
    assert (error.code, kind_of(error)) == (err("_CONFLICT"), "retriable")
    getattr(producer, end)(10)
    producer.begin_transaction()
    getattr(producer, end)(10)


def test_two_threads_that_end_the_same_transaction_do_not_both(cluster, topic, producer):
    sent = Sent(producer, topic)
    producer.begin_transaction()
    sent.send()
    producer.flush(10)
    cluster.push_broker_errors(1, ApiKey.EndTxn, (0, 0.5))
    outcome = []

    def commit():
        try:
            outcome.append(producer.commit_transaction(10))
        except KafkaException as failure:
            outcome.append(failure.error)

    threads = [threading.Thread(target=commit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    # The slices of the two may also take turns in waiting for the one commit: then the second finds it done.
    codes = [error and error.code for error in outcome]
    assert None in codes and set(codes) <= {None, err("_PREV_IN_PROGRESS"), err("_STATE")}
    producer.begin_transaction()
    producer.abort_transaction(10)


def test_a_commit_that_ctrl_c_leaves_as_it_begins_is_taken_up(cluster, topic, producer, monkeypatch):
    start = requests.start_thread

    def interrupted(run):
        begun = threading.Event()
        start(lambda: (begun.set(), run()))
        assert begun.wait(60)
        threading.Event().wait(0.2)     # no more than a chance for the thread to take it: either way it is right
        raise KeyboardInterrupt

    sent = Sent(producer, topic)
    producer.begin_transaction()
    sent.send()
    producer.flush(10)
    cluster.push_broker_errors(1, ApiKey.EndTxn, (0, 1.5))
    with monkeypatch.context() as patched:
        patched.setattr(requests, "start_thread", interrupted)
        with pytest.raises(KeyboardInterrupt):
            producer.commit_transaction(10)
    producer.commit_transaction(10)
    producer.begin_transaction()
    producer.abort_transaction(10)


def test_a_close_amid_a_commit_ends_both(cluster, topic):
    producer = open_producer("auto", cluster)
    producer.init_transactions(10)
    producer.begin_transaction()
    cluster.set_rtt(None, 5)
    sent = Sent(producer, topic)
    sent.send()
    outcome = []

    def commit():
        try:
            outcome.append(producer.commit_transaction(30))
        except (KafkaException, RuntimeError) as failure:
            outcome.append(failure)

    thread = threading.Thread(target=commit)
    thread.start()
    wait_for(lambda: thread.is_alive())
    producer.close(0.2)
    thread.join(10)
    assert not thread.is_alive() and isinstance(outcome[0], (KafkaException, RuntimeError))
    assert len(sent.codes) == 1
