"""Every response that the protocol allows, and more: one true outcome for each record, no invalid memory read.

The table's rows run as they are, and once more in a Python whose malloc() and string functions are
AddressSanitizer's: what is read after it was freed ends that process.
"""
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time

import pytest
from scripted_broker import CUT, NEVER, Raw, ScriptedBroker, a_topic, answer, int32, string, tags, varint
from helpers import LIBRDKAFKA, ROOT, keeps_words

import kafkapp
from kafkapp import KafkaAsyncProducer, PersistedStatus, ProducerRecord

RECORDS = 3
QUIET = {"log_cb": lambda *args: None, "error_cb": lambda error: None}
QUICK = {"message.timeout.ms": 30000, "retry.backoff.ms": 10, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 50,
         "linger.ms": 20000}        # a flush sends: all records in one request, however slow the machine is
IMPATIENT = {"message.timeout.ms": 1500, "linger.ms": 1000}
WORDS = "Compacted topic cannot accept message without key in topic partition t-0."
OTHERS = ("Failed to append record because it was part of a batch which had one more more invalid records", )
ANY = object()          # of the words: whichever
NOW = object()          # of the timestamp: librdkafka's own, since the topic has CreateTime

DONE, NOT, POSSIBLY = PersistedStatus.Done, PersistedStatus.Not, PersistedStatus.Possibly
DELIVERED = [(None, 1000 + n) for n in range(RECORDS)]      # what a script that is over answers


def failed(code, count=RECORDS):
    return [(code, None)] * count


def row(name, script, outcome, *, version=8, properties=None, topics=None, words=None, requests=1, oldest=(2, 0, 2)):
    """`outcome`: for each record (short name of the error or None, offset or None). `words`: those of each error."""
    return pytest.param(script, outcome, version, properties or {}, topics, words, requests,
                        id=name, marks=[] if oldest <= LIBRDKAFKA else pytest.mark.skip(f"librdkafka {oldest} asks for it first"))


# Version 8 has record errors, 9 has tagged fields, 10 has some that librdkafka reads.
RECORD_ERRORS, FLEXIBLE, LEADERS = (2, 4, 0), (2, 8, 0), (2, 8, 0)
LEADER = [(0, int32(1) + int32(5) + tags()), (77, b"a later protocol's")]
ENDPOINTS = [(0, varint(2) + int32(1) + string("127.0.0.1", True) + int32(1) + string(None, True) + tags()), (99, b"")]

TABLE = [
    *(row(f"success-v{version}", [], DELIVERED, version=version) for version in (3, 5, 7, 8, 9, 10)),
    row("an-old-offset", [answer(offset=0)], [(None, 0), (None, 1), (None, 2)]),
    row("the-broker's-time", [answer(offset=5, timestamp=1_700_000_000_000)], [(None, 5), (None, 6), (None, 7)]),
    row("no-offset", [answer(offset=-1)], [(None, None)] * 3),
    row("the-last-offset-there-is", [answer(offset=2**63 - 1)], ANY),
    # -- refused records, with words and without
    row("one-of-three-refused", [answer(87, -1, errors=[(1, WORDS)], words="one or more records were refused")],
        failed("INVALID_RECORD"), words=[OTHERS, (WORDS,), OTHERS], oldest=RECORD_ERRORS),
    row("two-of-three-refused", [answer(87, -1, errors=[(0, WORDS), (2, "other words")])],
        [("INVALID_RECORD", None), ("_INVALID_DIFFERENT_RECORD", None), ("INVALID_RECORD", None)],
        words=[(WORDS,), OTHERS, ("other words",)], oldest=RECORD_ERRORS),
    row("refused-without-words", [answer(87, -1, errors=[(1, None)])], failed("INVALID_RECORD"), words=[OTHERS, ANY, OTHERS],
        oldest=RECORD_ERRORS),
    row("refused-with-empty-words", [answer(87, -1, errors=[(1, "")], words="")], failed("INVALID_RECORD"), words=[ANY, ANY, ANY],
        oldest=RECORD_ERRORS),
    row("refused-with-many-words", [answer(87, -1, errors=[(1, "w" * 32000)])], failed("INVALID_RECORD"),
        words=[OTHERS, ("w" * 32000,), OTHERS], oldest=RECORD_ERRORS),
    row("refused-in-no-language", [answer(87, -1, errors=[(1, b"caf\xc3 \xff")])], failed("INVALID_RECORD"),
        words=[OTHERS, ("caf\ufffd \ufffd",), OTHERS], oldest=RECORD_ERRORS),
    row("refused-out-of-range", [answer(87, -1, errors=[(-1, WORDS), (3, WORDS), (2**31 - 1, WORDS)])],
        failed("_INVALID_DIFFERENT_RECORD"), oldest=RECORD_ERRORS),
    row("refused-twice", [answer(87, -1, errors=[(1, WORDS), (1, "once more")])], ANY, oldest=RECORD_ERRORS),
    row("refused-v10", [answer(87, -1, errors=[(1, WORDS)], error_tags=[(5, b"tag")])], failed("INVALID_RECORD"), version=10,
        words=[OTHERS, (WORDS,), OTHERS], oldest=FLEXIBLE),
    row("words-for-the-batch", [answer(44, -1, words="the policy says no")], failed("POLICY_VIOLATION"), words=[ANY] * 3),
    # -- codes
    *(row(f"refused-{code}", [answer(number, offset)], failed(code)) for code, number in (
        ("MSG_SIZE_TOO_LARGE", 10), ("TOPIC_AUTHORIZATION_FAILED", 29), ("INVALID_REQUIRED_ACKS", 21),
        ("UNSUPPORTED_FOR_MESSAGE_FORMAT", 43), ("UNSUPPORTED_COMPRESSION_TYPE", 76), ("INVALID_TIMESTAMP", 32),
        ("999", 999), ("_42", -42)) for offset in (-1, 0, 7)),
    *(row(f"retried-{number}", [answer(number, -1)] * 2, DELIVERED, requests=3) for number in (6, 7, 19, 20, 56, -195)),
    row("a-duplicate", [answer(46, -1)], failed("DUPLICATE_SEQUENCE_NUMBER")),
    row("a-duplicate-of-an-idempotent-producer", [answer(46, -1)], [(None, None)] * 3, properties={"enable.idempotence": True}),
    row("a-duplicate-with-an-offset", [answer(46, 17)], ANY, properties={"enable.idempotence": True}),
    row("out-of-order", [answer(45, -1)], failed("OUT_OF_ORDER_SEQUENCE_NUMBER"), properties={"enable.idempotence": True}),
    row("fenced", [answer(47, -1)], ANY, properties={"enable.idempotence": True}, requests=ANY),
    # -- throttling
    *(row(f"throttled-{ms}", [answer(offset=7, throttle=ms)], [(None, 7), (None, 8), (None, 9)]) for ms in (1, 300, -5, 2**31 - 1)),
    # -- tagged fields
    row("unknown-tags", [answer(offset=7, partition_tags=[(9, b"x" * 300)], topic_tags=[(3, b"")], all_tags=[(2**28, b"y")])],
        [(None, 7), (None, 8), (None, 9)], version=9),
    row("tags-that-librdkafka-reads", [answer(6, -1, partition_tags=LEADER, all_tags=ENDPOINTS)], DELIVERED, version=10, requests=ANY),
    row("a-tag-longer-than-the-answer", [answer(offset=7, all_tags=[(0, varint(100))])], ANY, version=10, requests=ANY),
    # -- answers of another shape
    row("two-topics", [answer(offset=7, topics=2)], failed("_BAD_MSG")),
    row("no-topic", [answer(offset=7, topics=0)], failed("_BAD_MSG")),
    row("two-partitions", [answer(offset=7, partitions=2)], failed("_BAD_MSG")),
    row("no-partition", [answer(offset=7, partitions=0)], failed("_BAD_MSG")),
    row("more-than-an-answer", [answer(offset=7, more=bytes(50))], [(None, 7), (None, 8), (None, 9)]),
    *(row(f"cut-after-{cut}", [answer(offset=7, cut=cut)], failed("_UNDERFLOW"), requests=ANY) for cut in (0, 3, 8, 12, 20, 28)),
    row("errors-without-end", [answer(87, -1, errors=int32(100_000))], ANY, requests=ANY),
    # -- connections
    row("cut-off", [CUT], DELIVERED, requests=2),
    row("cut-off-ten-times", [CUT] * 10, DELIVERED, requests=11),
    row("never", [NEVER] * 100, failed("_MSG_TIMED_OUT"), properties={**IMPATIENT, "socket.timeout.ms": 1000}, requests=ANY),
    row("another's-answer", [Raw(lambda request: int32(8) + int32(2**30) + int32(0))], ANY, requests=ANY, properties=IMPATIENT),
    row("an-answer-of-nothing", [Raw(lambda request: int32(0))], ANY, requests=ANY, properties=IMPATIENT),
    row("an-answer-without-end", [Raw(lambda request: int32(2**31 - 1))], ANY, requests=ANY, properties=IMPATIENT),
    row("an-answer-of-negative-size", [Raw(lambda request: int32(-5))], ANY, requests=ANY, properties=IMPATIENT),
    row("acks-0", [], [(None, None)] * 3, properties={"acks": 0}),
    # -- metadata
    row("a-topic-that-is-refused", [], failed("TOPIC_AUTHORIZATION_FAILED"), requests=0,
        topics=lambda name: a_topic(name, 29, ())),
    row("a-topic-of-no-name", [], failed("TOPIC_EXCEPTION"), requests=0, topics=lambda name: a_topic(name, 17, ())),
    row("no-leader", [], failed("_MSG_TIMED_OUT"), requests=0, properties=IMPATIENT,
        topics=lambda name: a_topic(name, 0, [(5, 0, -1)])),
    row("a-leader-that-is-nobody", [], failed("_MSG_TIMED_OUT"), requests=0, properties=IMPATIENT,
        topics=lambda name: a_topic(name, 0, [(0, 0, 99)])),
    row("a-topic-whose-name-is-no-text", [], failed("_MSG_TIMED_OUT"), requests=0, properties=IMPATIENT,
        topics=lambda name: a_topic(b"\xff\xfe\xc3", 0, [(0, 0, 1)])),
]


def a_producer(broker, properties, topics):
    """A producer that knows the topic's partition already, so that what is sent up to a flush is one request."""
    producer = KafkaAsyncProducer({"bootstrap.servers": broker.bootstrap_servers, **QUIET, **QUICK, **properties})
    if topics is None:
        producer.fetch_broker_metadata("t")
    return producer


def when(sent, topics):
    """The same answers, once all is sent: what is sent to a topic that is known to be refused is refused by send() itself."""
    return topics and (lambda name: sent.wait(60) and topics(name))


def outcomes(script, version, properties, topics, option=kafkapp.SendOption.NoCopyRecordValue):
    """(of each record (error, metadata) in the order of the ids, how many Produce requests came)."""
    reports, sent = [], threading.Event()
    with ScriptedBroker(script, version, when(sent, topics)) as broker:
        producer = a_producer(broker, properties, topics)
        for number in range(RECORDS):
            producer.send(ProducerRecord("t", 0, b"k", bytearray(b"value"), number),
                          lambda metadata, error: reports.append((metadata.record_id, error, metadata)), option)
        sent.set()
        producer.flush(60)
        deadline = time.monotonic() + 60
        while properties.get("acks") == 0 and not broker.requests and time.monotonic() < deadline:
            time.sleep(0.01)        # nobody waits for an answer: it may have been written and not read yet
        requests = len(broker.requests)
        producer.close(10)
    assert [number for number, *_ in sorted(reports, key=lambda report: report[0])] == list(range(RECORDS))     # each once
    return [(error, metadata) for _, error, metadata in sorted(reports, key=lambda report: report[0])], requests


def short(error):
    return None if error is None else error.code.name.removeprefix("RD_KAFKA_RESP_ERR_")


@pytest.mark.parametrize("script, expected, version, properties, topics, words, requests", TABLE)
def test_each_record_has_its_true_outcome(script, expected, version, properties, topics, words, requests):
    reports, asked = outcomes(script, version, properties, topics)
    assert requests is ANY or asked == requests
    if expected is not ANY:
        assert [(short(error), metadata.offset) for error, metadata in reports] == expected
    for place, (error, metadata) in enumerate(reports):
        if error is not None:
            assert metadata.offset is None and metadata.persisted_status != DONE
            assert isinstance(error.message, str) and error.message
            if words is not None and words[place] is not ANY and keeps_words():
                assert error.message in words[place]
        else:
            assert metadata.persisted_status == (POSSIBLY if properties.get("acks") == 0 else DONE)


@pytest.mark.parametrize("script, expected, version, properties, topics, words, requests", TABLE)
def test_a_batch_has_the_same_outcomes(script, expected, version, properties, topics, words, requests):
    sent = threading.Event()
    with ScriptedBroker(script, version, when(sent, topics)) as broker, a_producer(broker, properties, topics) as producer:
        batch = producer.send_batch("t", [b"value"] * RECORDS, partition=0)
        sent.set()
        producer.flush(60)
        assert batch.accepted == RECORDS and batch.done
        errors, offsets = list(batch.errors), list(batch.offsets)
        named = [short(dict(batch.failures()).get(place)) for place in range(RECORDS)]
    if expected is not ANY:
        assert list(zip(named, (None if offset == -1001 else offset for offset in offsets), strict=True)) == expected
    assert all(offset == -1001 for error, offset in zip(errors, offsets, strict=True) if error)


def test_another_outcome_than_that_of_the_table_is_found():
    with pytest.raises(AssertionError):
        test_each_record_has_its_true_outcome([answer(87, -1, errors=[(1, WORDS)])], DELIVERED, 8, {}, None, None, 1)


SANITIZED = """
import ctypes, sys
sys.path[:0] = sys.argv[1:3]
import test_produce_responses as tests
if sys.argv[3] == "planted":
    libc = ctypes.CDLL(None)
    libc.malloc.restype = libc.strdup.restype = ctypes.c_void_p
    text = libc.strdup(b"words")
    libc.free(ctypes.c_void_p(text))
    ctypes.string_at(text)
for row in tests.TABLE:
    script, expected, version, properties, topics, words, requests = row.values
    if not row.marks and "never" not in row.id:
        reports, _ = tests.outcomes(script, version, properties, topics)
        for error, metadata in reports:
            str(error), str(metadata), error and error.message
print("all rows")
"""


def asan():
    """AddressSanitizer's library for the programs that gcc does not build, or None."""
    if not shutil.which("gcc"):
        return None
    found = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()
    return found if os.path.isabs(found) else None


def sanitized(how):
    return subprocess.run(
        [sys.executable, "-c", SANITIZED, str(ROOT / "tests" / "support"), str(ROOT / "tests" / "faults"), how], capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, "LD_PRELOAD": asan(),
             "PYTHONMALLOC": "default" if sysconfig.get_config_var("Py_GIL_DISABLED") else "malloc",    # without a GIL it has but one
             "ASAN_OPTIONS": "detect_leaks=0:strict_string_checks=1:allocator_may_return_null=1"})


@pytest.mark.timeout(300)
@pytest.mark.skipif(asan() is None, reason="gcc has no libasan")
def test_no_answer_has_freed_memory_read():
    ended = sanitized("rows")
    assert ended.returncode == 0 and "all rows" in ended.stdout, ended.stderr[-4000:]


@pytest.mark.skipif(asan() is None, reason="gcc has no libasan")
def test_freed_memory_that_is_read_ends_the_process():
    ended = sanitized("planted")
    assert ended.returncode and "heap-use-after-free" in ended.stderr
