"""What happens between two chunks of a poll, and in a forked child, where a library before librdkafka holds polls and counts."""
import json

import pytest
from groups import PROTOCOLS
from helpers import ROOT, preloaded, properties, run_python, shared_library

from kafkapp import KafkaSyncProducer

BEGIN = """
import ctypes, json, os, re, sys, threading
sys.path.append(sys.argv[1])
from groups import ASSIGNED, REVOKED, Member, poll_until, shared
from helpers import properties, wait_for
from kafkapp import KafkaConsumer, KafkaSyncProducer, Offset

watched = ctypes.CDLL(sys.argv[2])
watched.hold_poll.argtypes = [ctypes.c_size_t] * 2
bootstrap, topic = sys.argv[3:5]
"""
HELD = BEGIN + """
protocol, case = sys.argv[5:]
COUNT = 50
everything = {(partition, offset) for partition in range(4) for offset in range(COUNT)}

def send():
    with KafkaSyncProducer(properties(bootstrap)) as producer:
        for partition in range(4):
            producer.send_batch(topic, [b"v"] * COUNT, partition=partition)

def change(consumer, event, places):
    if case == "sought" and event is ASSIGNED and held:
        for place in consumer.assignment() - set(places):
            consumer.seek(place, 40)
    if case == "paused" and event is ASSIGNED and held:
        consumer.pause(consumer.assignment() - set(places))

def answered(generation):
    log = [line[2] for line in list(first.lines)]
    joined = [number for number, text in enumerate(log) if f"GenerationId {generation}," in text]
    return joined and any("-> steady" in text for text in log[joined[-1]:])

held = False
first = Member(bootstrap, topic, protocol, change, debug="cgrp")
second = Member(bootstrap, topic, protocol)
if case == "revoked":
    send()
    first.subscribe(topic)
    mine, queued, some, delegated = {0, 1, 2, 3}, 4 * COUNT, 2 * COUNT, "delegating (incremental )?revoke"
else:
    first.subscribe(topic)
    second.subscribe(topic, timeout=None)
    poll_until(shared(first, second), first, second)
    if protocol == "cooperative":       # until a rebalance that gives nothing is answered, librdkafka fetches nothing
        poll_until(lambda: answered(second.consumer.group_metadata().generation_id), first, second)
    send()
    mine, queued, some, delegated = first.partitions, 2 * COUNT, 2, "delegating incremental assign"
first.events.clear(), first.lines.clear()

def poll():
    watched.hold_poll(queued, some)
    first.poll(10)

held = True
poller = threading.Thread(target=poll)
poller.start()
wait_for(watched.poll_is_held, 30)
assert not first.read and not first.events
if case == "revoked":
    second.subscribe(topic, timeout=None)
else:
    second.consumer.close()
wait_for(lambda: (case == "revoked" and second.poll()) or any(re.search(delegated, line[2]) for line in list(first.lines)), 40)
watched.let_poll_go_on()
while poller.is_alive():
    if case == "revoked":
        second.poll()
    poller.join(0.05)
stay = first.partitions
print(json.dumps({"events": [(event.name, partitions) for event, partitions in first.events], "returned": first.read, "mine": sorted(mine),
                  "stay": sorted(stay)}))
if case == "revoked":
    poll_until(lambda: {*first.read, *second.read} == everything, first, second)
    second.consumer.close()
first.consumer.close()
"""


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """The arguments of a program that has the library."""
    library = shared_library(ROOT / "tests/native/watched_consumer.c", tmp_path / "watched.so")
    preloaded(library, monkeypatch)
    return ROOT / "tests/support", library


def held_poll(watched, cluster, topic, protocol, case):
    text = run_python(HELD, *watched, cluster.bootstrap_servers, topic, protocol, case, timeout=120)
    seen = json.loads(text)
    returned = {}
    for partition, offset in seen["returned"]:
        returned.setdefault(partition, []).append(offset)
    return seen, returned


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_goes_amid_a_poll_is_not_returned_by_it(watched, cluster, topic, protocol):
    """The poll has taken records of it before: it returns none of them, and what stays from where it was."""
    seen, returned = held_poll(watched, cluster, topic, protocol, "revoked")
    assert seen["events"][0][0] in ("Revoked", "Lost") and returned.keys() <= set(seen["stay"])
    assert all(offsets == list(range(len(offsets))) for offsets in returned.values())


INCREMENTAL = [each for each in PROTOCOLS if each != "eager"]      # which revokes all first: that waits for a poll


@pytest.mark.parametrize("protocol", INCREMENTAL)
def test_a_seek_in_a_rebalance_amid_a_poll_counts(watched, cluster, topic, protocol):
    seen, returned = held_poll(watched, cluster, topic, protocol, "sought")
    assert [event for event, _ in seen["events"]] == ["Assigned"]
    assert returned and all(offsets[0] == (40 if partition in seen["mine"] else 0) for partition, offsets in returned.items()), returned


@pytest.mark.parametrize("protocol", INCREMENTAL)
def test_a_pause_in_a_rebalance_amid_a_poll_counts(watched, cluster, topic, protocol):
    seen, returned = held_poll(watched, cluster, topic, protocol, "paused")
    assert [event for event, _ in seen["events"]] == ["Assigned"]
    assert returned and not returned.keys() & set(seen["mine"])


FORKED = BEGIN + """
way, = sys.argv[5:]

consumer = KafkaConsumer(properties(bootstrap, {"fetch.wait.max.ms": 20, "log_cb": lambda *line: None}))
consumer.assign({(topic, 0): Offset.Beginning})
batches = []
while sum(map(len, batches)) < 3:
    batches.append(consumer.poll(20))
view = memoryview(batches[0][0].value)
assert consumer.pinned_bytes > 3 * 4096
before = watched.destroyed_messages()

child = os.fork()
if not child:
    if way == "exits":
        sys.exit(0)
    if way == "makes its own":
        del batches[:], view
        batches = []
        own = KafkaConsumer(properties(bootstrap, {"fetch.wait.max.ms": 20}))
        own.assign({(topic, 0): Offset.Beginning})
        while sum(map(len, batches)) < 3:
            batches.append(own.poll(20))
        now = watched.destroyed_messages()
        del batches[:]
        own.close()
        os._exit(watched.destroyed_messages() - now)        # of its own it destroys each
    if way == "drops the consumer first":
        del consumer
    assert bytes(view) == b"x" * 4096
    del view
    del batches[:]
    os._exit(watched.destroyed_messages() - before)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert bytes(view) == b"x" * 4096 and watched.destroyed_messages() == before
del view
del batches[:]
print(json.dumps([status, watched.destroyed_messages() - before, consumer.pinned_bytes]))
consumer.close()
"""


@pytest.mark.parametrize(("way", "destroyed"), [("drops the records", 0), ("drops the consumer first", 0), ("exits", 0), ("makes its own", 3)])
def test_a_child_destroys_no_message_of_its_parent(watched, cluster, topic, way, destroyed):
    """Large values are librdkafka's memory, whose locks and threads a forked child has not."""
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send_batch(topic, [b"x" * 4096] * 3, partition=0)
    assert json.loads(run_python(FORKED, *watched, cluster.bootstrap_servers, topic, way)) == [destroyed, 3, 0]
