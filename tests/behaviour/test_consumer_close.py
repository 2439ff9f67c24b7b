"""Waiting and closing: one poll at a time, wake-ups, Ctrl-C, close with a full queue, consumers that nobody closes, fork."""
import gc
import json
import os
import signal
import threading
import time
import warnings

import pytest
from consumers import new_consumer, poll_batch_beside, polls
from helpers import NOWHERE, Stopwatch, properties, refusal, run_python, said_in_child, wait_for

from kafkapp import KafkaAsyncProducer, KafkaConsumer, KafkaSyncProducer, RebalanceEvent
from kafkapp.testing import ApiKey

PROGRAM = """
import json, os, signal, sys, threading, time
from kafkapp import KafkaAsyncProducer, KafkaConsumer

call, bootstrap = sys.argv[1:]
quiet = {"bootstrap.servers": bootstrap, "log_cb": lambda *line: None}
if call.startswith("producer"):
    consumer = KafkaAsyncProducer(quiet)
else:
    consumer = KafkaConsumer({**quiet, "session.timeout.ms": 3500})     # so long librdkafka keeps a commit for a coordinator
    consumer.assign([("t", 0)])     # from where the group has committed, which nobody says
blocking = {
    "fetch_broker_metadata": lambda: consumer.fetch_broker_metadata("t", None),
    "list_topics": lambda: consumer.list_topics(None),
    "producer's list_topics": lambda: consumer.list_topics(None),
    "poll": lambda: consumer.poll(),
    "poll_batch": lambda: consumer.poll_batch(),
    "seek": lambda: consumer.seek(("t", 0), 5, None),
    "end_offsets": lambda: consumer.end_offsets([("t", 0)], None),
    "lag": lambda: consumer.lag(None),
    "committed": lambda: consumer.committed([("t", 0)], None),
    "commit_sync": lambda: consumer.commit_sync({("t", 0): 5}),
}
sent = []
def interrupt():
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
threading.Timer(0.5, interrupt).start()
try:
    blocking[call]()
except KeyboardInterrupt:
    took = time.monotonic() - sent[0]
begin = time.monotonic()
consumer.close(5)
closing = time.monotonic() - begin
def threads():
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
while threads() > 1 and time.monotonic() < begin + 15:      # what was left ends too
    time.sleep(0.01)
print(json.dumps([took, closing, consumer.closed, threads()]))
"""


@pytest.mark.parametrize("call", ["poll", "poll_batch", "seek", "end_offsets", "lag", "committed", "commit_sync",
                                  "fetch_broker_metadata", "list_topics", "producer's list_topics"])
def test_ctrl_c_ends_each_wait(call):
    took, closing, closed, threads = json.loads(run_python(PROGRAM, call, NOWHERE))
    assert took < 0.5 and closing < 3 and closed and threads == 1


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads")
@pytest.mark.parametrize("cls", [KafkaAsyncProducer, KafkaConsumer])
def test_close_ends_a_wait_for_metadata_in_another_thread(cls):
    def threads():
        return len(os.listdir("/proc/self/task"))

    said, before = [], threads()
    client = cls({"bootstrap.servers": NOWHERE, "log_cb": lambda *line: None})

    def ask():
        with pytest.raises(RuntimeError, match="closed") as raised:
            client.list_topics(None)
        said.append(raised.value)

    thread = threading.Thread(target=ask)
    alone = threads()
    thread.start()
    wait_for(lambda: threads() >= alone + 2)        # that one, and the one that asks
    client.close(0)
    thread.join(20)
    assert said
    wait_for(lambda: threads() <= before)


def test_a_poll_keeps_its_timeout(broker, topic):
    with new_consumer(broker, topic) as consumer, Stopwatch() as watch:
        assert not consumer.poll_batch(0.3)
    assert 0.3 <= watch.seconds < 10


def polling(consumer, outcome):
    """A thread that polls, and puts into a list what came of it."""
    def poll():
        try:
            outcome.append(poll_batch_beside(consumer))
        except RuntimeError as error:
            outcome.append(error)

    thread = threading.Thread(target=poll)
    thread.start()
    return thread


def test_wakeup_ends_a_poll_and_only_one_thread_polls(broker, topic):
    with new_consumer(broker, topic) as consumer:
        outcome = []
        thread = polling(consumer, outcome)
        wait_for(lambda: polls(consumer))
        consumer.wakeup()
        thread.join(20)
        assert len(outcome) == 1 and not outcome[0]
        consumer.wakeup()       # nobody waits: the next one does not
        assert not consumer.poll_batch()


@pytest.mark.parametrize("way", ["assigned", "subscribed"])
def test_close_ends_a_poll_of_another_thread(broker, topic, way):
    consumer, outcome = new_consumer(broker, *[topic] * (way == "assigned")), []
    if way == "subscribed":
        consumer.subscribe([topic], timeout=30)
    thread = polling(consumer, outcome)
    wait_for(lambda: polls(consumer))
    consumer.close()
    thread.join(20)
    assert str(outcome[0]) == "the consumer is closed"
    assert consumer._ledger() == {"outstanding": 0, "kept": 0, "topics": 0}


def test_close_ends_a_subscribe_of_another_thread(broker, topic):
    consumer, said = new_consumer(broker), []
    consumer.subscribe([topic], timeout=30)

    def subscribe():
        with pytest.raises(RuntimeError, match="^the consumer is closed$") as raised:
            consumer.subscribe([f"not {topic}"], timeout=30)
        said.append(raised)

    thread = threading.Thread(target=subscribe)
    thread.start()
    wait_for(lambda: not consumer.assignment())     # it waits for what does not come
    with Stopwatch() as watch:
        consumer.close()
        thread.join(20)
    assert said and watch.seconds < 2.5     # not the 5 s that it has for callbacks in a poll


def test_close_ends_a_commit_of_another_thread():
    consumer, said = KafkaConsumer({"bootstrap.servers": NOWHERE, "log_cb": lambda *line: None}), []

    def commit():
        with pytest.raises(RuntimeError, match="^the consumer is closed$") as raised:
            consumer.commit_sync({("t", 0): 5})
        said.append(raised)

    thread = threading.Thread(target=commit)
    thread.start()
    time.sleep(0.3)
    with Stopwatch() as watch:
        consumer.close(0)
        thread.join(20)
    assert said and watch.seconds < 10


REASSIGNED = """
import sys
from kafkapp import KafkaConsumer

for _ in range(400):
    consumer = KafkaConsumer({"bootstrap.servers": sys.argv[1], "fetch.wait.max.ms": 5, "log_cb": lambda *line: None})
    for _ in range(2):
        consumer.assign({(sys.argv[2], 0): 0, (sys.argv[2], 1): 0})
        consumer.poll(0.01)
    consumer.assign({(sys.argv[2], 1): 0})
    consumer.close()
print("good")
"""


def test_close_right_after_another_assignment(broker, topic):
    """librdkafka ended the process, once in some 300 times, where it had not yet stopped what was assigned before."""
    assert run_python(REASSIGNED, broker.bootstrap_servers, topic, timeout=60).strip() == "good"


def test_wakeup_takes_effect_at_once(broker, topic):
    """Not when a poll looks for signals, each 0.1 s."""
    took = []
    with new_consumer(broker, topic) as consumer:
        for _ in range(10):
            thread = polling(consumer, [])
            wait_for(lambda: polls(consumer))
            with Stopwatch() as watch:
                consumer.wakeup()
                thread.join(20)
            took.append(watch.seconds)
    assert min(took) < 0.05


def test_close_returns_although_the_queue_is_full_and_batches_live(cluster, topic):
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send_batch(topic, [b"x" * 100] * 30_000, partition=0)
    consumer = new_consumer(cluster, topic, [0], queued_min_messages=1000)
    kept = consumer.poll_batch(20, max_records=1000)
    with Stopwatch() as watch:
        consumer.close()
    assert watch.seconds < 5 and consumer.closed
    assert bytes(kept.value_data) == b"x" * 100 * len(kept) and kept[0].value == b"x" * 100
    consumer.close()


class Interrupted(Exception):
    pass


@pytest.fixture
def interrupted_when():
    """Have a signal interrupt this thread with an exception, when a condition holds."""
    def interrupt(*_):
        raise Interrupted

    def wait(condition):
        wait_for(condition, 20)
        signal.pthread_kill(here, signal.SIGUSR1)

    def begin(condition):
        threads.append(threading.Thread(target=wait, args=(condition,)))
        threads[-1].start()

    threads, here, before = [], threading.get_ident(), signal.signal(signal.SIGUSR1, interrupt)
    yield begin
    for thread in threads:
        thread.join()
    signal.signal(signal.SIGUSR1, before)


def test_a_close_that_a_signal_has_ended_may_be_called_again(cluster, topic, interrupted_when):
    """The consumer is open and can poll meanwhile; on_rebalance is called once, and the group is left."""
    events, answers = [], []
    consumer = new_consumer(cluster, group_id=topic, enable_auto_commit=False)
    consumer.subscribe([topic], lambda event, partitions: events.append(event), 30)
    cluster.push_broker_errors(1, ApiKey.OFFSET_COMMIT, (0, 2))
    consumer.commit_async({(topic, 0): 0}, lambda *answer: answers.append(answer))
    interrupted_when(lambda: consumer.closed)       # it waits for the answer
    with pytest.raises(Interrupted):
        consumer.close(30)
    assert not consumer.closed and not consumer.poll(0) and not answers
    cluster.start_request_tracking()
    consumer.close(30)
    assert events == [RebalanceEvent.Assigned, RebalanceEvent.Revoked] and answers == [({(topic, 0): 0}, None)]
    assert consumer.closed and any(request.api == ApiKey.LEAVE_GROUP for request in cluster.requests())


def test_a_close_that_was_ended_while_it_waited_for_a_poll(cluster, topic, interrupted_when):
    """That goes on: it was in on_rebalance."""
    entered, go_on, outcome = threading.Event(), threading.Event(), []

    def told(event, partitions):
        if event is RebalanceEvent.Assigned:
            entered.set()
            go_on.wait(20)

    consumer = new_consumer(cluster, group_id=topic)
    consumer.subscribe([topic], told)
    thread = polling(consumer, outcome)
    assert entered.wait(20)
    begin = time.monotonic()
    with pytest.raises(Interrupted):
        interrupted_when(lambda: time.monotonic() > begin + 0.3)
        consumer.close(30)
    go_on.set()
    consumer.wakeup()
    thread.join(20)
    assert len(outcome) == 1 and not outcome[0]
    consumer.close()


@pytest.mark.parametrize("call", ["poll", "poll_batch", "assign", "wakeup", "position", "seek", "seek_to_end", "pause", "resume", "end_offsets", "committed", "commit_sync"])
def test_after_close_every_call_says_so(call):
    consumer = KafkaConsumer({"bootstrap.servers": NOWHERE, "log_cb": lambda *line: None})
    consumer.assign([("t", 0)])
    consumer.close()
    arguments = {"assign": ([("t", 1)],), "position": (("t", 0),), "seek": (("t", 0), 5), "end_offsets": ([("t", 0)],), "committed": ([("t", 0)],)}
    with pytest.raises(RuntimeError, match="^the consumer is closed$"):
        getattr(consumer, call)(*arguments.get(call, ()))
    assert consumer.assignment() == {("t", 0)} and consumer.group_id and consumer.get_property("group.id") == consumer.group_id


def test_one_that_is_dropped_open_warns_and_ends(broker, topic):
    consumer = new_consumer(broker, topic)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always", ResourceWarning)
        del consumer
        gc.collect()
    assert [str(one.message) for one in given if "was never closed" in str(one.message) and str(one.message).startswith("consumer ")]


def test_the_garbage_collector_does_not_wait_for_its_end(cluster, topic):
    class Own(KafkaConsumer):
        pass

    answered = []
    consumer = Own(properties(cluster))
    consumer.committed([(topic, 0)])        # the group's broker is known
    cluster.set_rtt(1, 5)
    consumer.commit_async({(topic, 0): 5}, lambda offsets, error: answered.append(error))
    consumer.itself = consumer
    with pytest.warns(ResourceWarning, match="was never closed"), Stopwatch() as watch:
        del consumer
        gc.collect()
    assert watch.seconds < 4 and not answered
    wait_for(lambda: answered == [None])


def test_its_repr_says_what_is_outstanding(broker, topic):
    with new_consumer(broker, topic) as consumer:
        assert repr(consumer) == f"<KafkaConsumer {consumer.name}: 0 offsets outstanding>"
    assert repr(consumer) == f"<KafkaConsumer {consumer.name}: 0 offsets outstanding, closed>"
    assert repr(KafkaConsumer.__new__(KafkaConsumer)) == "<KafkaConsumer without a client>"


def test_a_child_is_told_that_it_has_none(broker, topic):
    consumer = new_consumer(broker, topic)
    said = said_in_child(lambda: refusal(consumer.poll, 0))
    assert said == "this consumer was created in another process: create one after the fork"
    assert not consumer.poll(0)
    consumer.close()


def test_a_program_ends_with_an_open_consumer_and_a_live_batch(cluster, topic):
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send_batch(topic, [b"v"] * 1000, partition=0)
    with Stopwatch() as watch:
        done = run_python("""if True:
            import sys
            from kafkapp import KafkaConsumer
            consumer = KafkaConsumer({"bootstrap.servers": sys.argv[1]})
            consumer.assign({(sys.argv[2], 0): 0})
            batch = consumer.poll_batch(20)
            column = batch.value_data
            print(len(batch) > 0)
            """, cluster.bootstrap_servers, topic)
    assert done.strip() == "True" and watch.seconds < 15


def test_idle_polling_costs_little(broker, topic):
    with new_consumer(broker, topic) as consumer:
        consumer.poll_batch(0.2)
        begin = time.thread_time()
        consumer.poll_batch(1)
        assert time.thread_time() - begin < 0.1
