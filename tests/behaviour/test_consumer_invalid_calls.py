"""Bad input to every call of a consumer: a clear error at the call, and what is assigned is as it was."""
import os
import threading
from datetime import datetime, timedelta

import pytest
from helpers import NOWHERE, properties, refusal, said_in_child

from kafkapp import KafkaConsumer, KafkaException, Offset, Timestamp

QUIET = {"log_cb": lambda *log: None, "error_cb": lambda error: None}
KEPT = ("kept", 3)

# Each call, valid but for its state or its timeout.
TIMED = {
    "poll": lambda consumer, timeout: consumer.poll(timeout),
    "poll_batch": lambda consumer, timeout: consumer.poll_batch(timeout),
    "assign": lambda consumer, timeout: consumer.assign({("t", 1): Timestamp(5)}, timeout),
    "seek": lambda consumer, timeout: consumer.seek(KEPT, 5, timeout),
    "seek_to_beginning": lambda consumer, timeout: consumer.seek_to_beginning(timeout=timeout),
    "seek_to_end": lambda consumer, timeout: consumer.seek_to_end([KEPT], timeout),
    "beginning_offsets": lambda consumer, timeout: consumer.beginning_offsets([KEPT], timeout),
    "end_offsets": lambda consumer, timeout: consumer.end_offsets([KEPT], timeout),
    "offsets_for_times": lambda consumer, timeout: consumer.offsets_for_times({KEPT: 5}, timeout),
    "lag": lambda consumer, timeout: consumer.lag(timeout),
    "committed": lambda consumer, timeout: consumer.committed([KEPT], timeout),
    "commit_sync": lambda consumer, timeout: consumer.commit_sync({KEPT: 5}, timeout),
    "fetch_broker_metadata": lambda consumer, timeout: consumer.fetch_broker_metadata("t", timeout),
    "list_topics": lambda consumer, timeout: consumer.list_topics(timeout),
}
BLOCKING = {
    **{name: lambda consumer, call=call: call(consumer, 1) for name, call in TIMED.items()},
    "assign at once": lambda consumer: consumer.assign([("t", 1)]),
    "pause": lambda consumer: consumer.pause(),
    "resume": lambda consumer: consumer.resume([KEPT]),
}
CALLS = {**BLOCKING, "position": lambda consumer: consumer.position(KEPT), "wakeup": lambda consumer: consumer.wakeup(),
         "commit_async": lambda consumer: consumer.commit_async({KEPT: 5})}


@pytest.fixture
def consumer():
    with KafkaConsumer(properties(NOWHERE, QUIET)) as consumer:
        consumer.assign({KEPT: 17})
        yield consumer
        assert consumer.assignment() == {KEPT} and consumer.position(KEPT) == 17


@pytest.mark.parametrize("call", TIMED)
@pytest.mark.parametrize(("wrong", "kind"), [(-1, ValueError), (float("nan"), ValueError), (timedelta(-1), ValueError), (10**400, ValueError),
                                             (True, TypeError), ("1", TypeError), (1j, TypeError)], ids=lambda value: str(value)[:9])
def test_timeouts(consumer, call, wrong, kind):
    with pytest.raises(kind, match="^timeout must be "):
        TIMED[call](consumer, wrong)


PARTITIONS = [("t", TypeError, "partitions must be"), (b"t", TypeError, "partitions must be"), (5, TypeError, "partitions must be"),
              ([("t",)], ValueError, "tuple"), ([("t", 0, 5)], ValueError, "tuple"), ([("", 0)], ValueError, "topic"),
              ([("t\0", 0)], ValueError, "topic"), ([("\ud800", 0)], ValueError, "topic"), ([("t" * 513, 0)], ValueError, "topic"),
              ([(b"t", 0)], TypeError, "topic"), ([(None, 0)], TypeError, "topic"), ([("t", -1)], ValueError, "partition"),
              ([("t", 2**31)], ValueError, "partition"), ([("t", 2**63)], ValueError, "partition"), ([("t", True)], TypeError, "partition"),
              ([("t", 1.0)], TypeError, "partition"), ([("t", "1")], TypeError, "partition"), ([None], TypeError, "partition"),
              ([("t", 0), ("t", 0)], ValueError, "twice"), (["t"], TypeError, "partition")]
OF_PARTITIONS = {
    "assign": lambda consumer, wrong: consumer.assign(wrong),
    "pause": lambda consumer, wrong: consumer.pause(wrong),
    "resume": lambda consumer, wrong: consumer.resume(wrong),
    "seek_to_end": lambda consumer, wrong: consumer.seek_to_end(wrong),
    "end_offsets": lambda consumer, wrong: consumer.end_offsets(wrong),
    "beginning_offsets": lambda consumer, wrong: consumer.beginning_offsets(wrong),
    "committed": lambda consumer, wrong: consumer.committed(wrong),
}


@pytest.mark.parametrize("call", OF_PARTITIONS)
@pytest.mark.parametrize(("wrong", "kind", "text"), PARTITIONS, ids=[repr(row[0])[:14] for row in PARTITIONS])
def test_partitions(consumer, call, wrong, kind, text):
    with pytest.raises(kind, match=text):
        OF_PARTITIONS[call](consumer, wrong)


STARTS = [(-1, ValueError), (-5, ValueError), (2**63, ValueError), (True, TypeError), (1.5, TypeError), ("5", TypeError), (None, TypeError),
          (Timestamp(-1), ValueError), (Timestamp(2**63), ValueError), (datetime(2024, 1, 1), ValueError)]      # noqa: DTZ001


@pytest.mark.parametrize(("wrong", "kind"), STARTS, ids=[repr(row[0]) for row in STARTS])
def test_where_to_begin(consumer, wrong, kind):
    for call in (lambda: consumer.assign({("t", 0): 5, ("t", 1): wrong}), lambda: consumer.seek(KEPT, wrong)):
        with pytest.raises(kind, match="offset must be|time in ms must be|timestamp must be"):
            call()
    if not isinstance(wrong, (int, Timestamp)) or wrong is True or wrong == 2**63:
        with pytest.raises(kind, match="must be"):
            consumer.offsets_for_times({KEPT: wrong})


@pytest.mark.parametrize("times", [[KEPT], KEPT, None, 5, {"kept": 5}, {KEPT: -1}, {KEPT: Offset.End}, {("t", -1): 5}], ids=repr)
def test_times(consumer, times):
    with pytest.raises((TypeError, ValueError)):
        consumer.offsets_for_times(times)


@pytest.mark.parametrize(("topic", "kind"), [(None, TypeError), (b"t", TypeError), (5, TypeError), ("", ValueError), ("t" * 513, ValueError),
                                             ("a\0b", ValueError), ("\ud800", ValueError)], ids=lambda value: repr(value)[:9])
def test_metadata(consumer, topic, kind):
    with pytest.raises(kind, match="topic must|topic: "):
        consumer.fetch_broker_metadata(topic, 1)


@pytest.mark.parametrize("place", [("t", 3), ("kept", 2)])
def test_what_is_not_assigned(consumer, place):
    for name, call in {"position": consumer.position, "pause": lambda place: consumer.pause([KEPT, place]),
                       "resume": lambda place: consumer.resume([place]), "seek": lambda place: consumer.seek(place, 5),
                       "seek_to_end": lambda place: consumer.seek_to_end([KEPT, place])}.items():
        with pytest.raises(KafkaException, match=rf"{name}\(\): {place[0]} \[{place[1]}\] is not assigned"):
            call(place)


@pytest.mark.parametrize("call", CALLS)
def test_after_close(call):
    consumer = KafkaConsumer(properties(NOWHERE, QUIET))
    consumer.assign({KEPT: 17})
    consumer.close()
    with pytest.raises(RuntimeError, match="^the consumer is closed$"):
        CALLS[call](consumer)
    assert consumer.assignment() == {KEPT}


def test_in_a_callback():
    """Of statistics, on the thread that runs callbacks."""
    raised, done = {}, threading.Event()

    def callback(text):
        if not done.is_set():
            for name, call in {**BLOCKING, "close": KafkaConsumer.close}.items():
                try:
                    call(consumer)
                except RuntimeError as error:
                    raised[name] = str(error)
            raised["position"] = consumer.position(KEPT)
            done.set()

    with KafkaConsumer(properties(NOWHERE, QUIET, {"stats_cb": callback}, statistics_interval_ms=20)) as consumer:
        consumer.assign({KEPT: 17})
        assert done.wait(30)
        assert consumer.assignment() == {KEPT} and raised.pop("position") == 17
    assert set(raised) == {*BLOCKING, "close"} and all("from a callback of the same consumer" in text for text in raised.values()), raised


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_in_a_forked_child(consumer):
    said = said_in_child(lambda: ",".join(name for name, call in CALLS.items()
                                          if "was created in another process" in refusal(call, consumer)))
    assert set(said.split(",")) == set(CALLS)


def test_it_knows_no_partition_of_a_subclass_that_raises(consumer):
    class Wrong:
        topic = "t"

        @property
        def partition(self):
            raise LookupError("mine")

    for call in (consumer.position, lambda place: consumer.assign([place]), lambda place: consumer.seek(place, 5),
                 lambda place: consumer.end_offsets([place])):
        with pytest.raises(LookupError, match="mine"):
            call(Wrong())
