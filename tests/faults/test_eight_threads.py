"""Eight threads at random, one of which closes: no crash, and one outcome for each accepted record.

In a process of its own, with an allocator that makes use after free end it.
"""
import json

import pytest
from helpers import NOWHERE, run_python

PROGRAM = """
import collections, json, random, sys, threading, time
from kafkapp import *

kind, bootstrap, seed, rounds = sys.argv[1:]
generator = random.Random(int(seed))

def make():
    made = {"bootstrap.servers": bootstrap, "queue.buffering.max.messages": 200, "message.timeout.ms": 2000,
            "log_cb": lambda *args: None, "statistics.interval.ms": 5, "stats_cb": lambda json: None}
    if kind == "sync":
        return KafkaSyncProducer({**made, "linger.ms": 1})
    return KafkaAsyncProducer(made, EventsPollingOption[kind])

def one_round(seed):
    producer = make()
    accepted, outcomes, unexpected = [], [], []
    closed = threading.Event()

    def work(name):
        mine = random.Random(seed * 100 + name)
        number = 0

        def record():
            nonlocal number
            number += 1
            value = mine.choice([b"v", bytearray(b"v" * 50), "text", None, Value(b"view")])
            headers = mine.choice([None, [("h", b"v")]])
            return ProducerRecord("t", mine.choice([None, 0, 1]), b"k", value, (name, number), headers=headers)

        def callback(metadata, error):
            outcomes.append(metadata.record_id)
            if mine.random() < 0.02:
                raise ValueError("from a callback")

        def send():
            r = record()
            if kind == "sync":
                producer.send(r, 0.05)
            else:
                producer.send(r, callback, mine.choice(list(SendOption)), timeout=0.05)
                accepted.append(r.id)

        def try_send():
            r = record()
            if producer.try_send(r, callback) is None:
                accepted.append(r.id)

        def send_batch():
            batch = producer.send_batch("t", [b"a", bytearray(b"b"), "c", None], timeout=0.05)
            if mine.random() < 0.5:
                batch.wait(0.01)

        calls = [send] * 20 + [send_batch, lambda: producer.flush(0.02), producer.purge, lambda: len(producer),
                               lambda: repr(producer), lambda: producer.get_property("acks"),
                               lambda: producer.fetch_broker_metadata("t", 0.05)]
        if kind != "sync":
            calls += [try_send] * 10
        if kind == "Manual":
            calls += [lambda: producer.poll_events(0.01)] * 10
        while True:
            try:
                mine.choice(calls)()
            except KafkaException:
                pass
            except (ValueError, ExceptionGroup) as error:
                if "from a callback" not in str(getattr(error, "exceptions", error)):
                    unexpected.append(repr(error))
            except RuntimeError as error:
                if closed.is_set():
                    return
                if "clos" not in str(error):
                    unexpected.append(repr(error))
            except BaseException as error:
                unexpected.append(repr(error))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(generator.random() * 0.3)        # the moment of the close is what is tried out
    try:
        producer.close(0.1)
    except (ValueError, ExceptionGroup):
        pass
    at_close = len(outcomes)
    closed.set()
    for thread in threads:
        thread.join(20)
    # A request that timed out has a thread that uses the handle until librdkafka answers; nothing is destroyed before.
    end = time.monotonic() + 20
    while any(producer._ledger().values()) and time.monotonic() < end:
        time.sleep(0.01)
    counts = collections.Counter(outcomes)
    return {"alive": sum(thread.is_alive() for thread in threads), "unexpected": unexpected,
            "lost": len(set(accepted) - set(counts)), "invented": len(set(counts) - set(accepted)),
            "twice": sum(count > 1 for count in counts.values()), "late": len(outcomes) - at_close,
            "held": {name: count for name, count in producer._ledger().items() if count}}

sys.unraisablehook = lambda args: None
found = [one_round(number) for number in range(int(rounds))]
print(json.dumps([bad for bad in found if any(bad.values())]))
"""


@pytest.mark.parametrize("kind", ["Auto", "Manual", "sync"])
@pytest.mark.parametrize("there", [True, False], ids=["broker", "no broker"])
def test_anything_at_any_time(broker, monkeypatch, kind, there):
    monkeypatch.setenv("PYTHONMALLOC", "debug")
    bootstrap = broker.bootstrap_servers if there else NOWHERE
    assert json.loads(run_python(PROGRAM, kind, bootstrap, 1, 2, timeout=60)) == []
