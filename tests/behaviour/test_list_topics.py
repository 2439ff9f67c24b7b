"""list_topics() of all producers: names and numbers of partitions, in time."""
import asyncio

import pytest
from helpers import NOWHERE, Stopwatch, finish, properties, run_in_loop, start_python

from kafkapp import ErrorCode, EventsPollingOption, KafkaAsyncProducer, KafkaException, KafkaSyncProducer
from kafkapp.aio import KafkaProducer

QUIET = {"log_cb": lambda *log: None, "error_cb": lambda error: None}
KINDS = {"auto": KafkaAsyncProducer, "sync": KafkaSyncProducer,
         "manual": lambda made: KafkaAsyncProducer(made, EventsPollingOption.Manual)}
NO_ANSWER = {ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT, ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT}


@pytest.fixture
def topics(cluster):
    found = {"orders": 4, "a": 1, "täglich": 2}
    for name, partitions in found.items():
        cluster.create_topic(name, partitions)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_it_names_all_topics_in_their_order(cluster, topics, kind):
    with KINDS[kind](properties(cluster)) as producer:
        found = producer.list_topics(20)
    assert found == topics and list(found) == sorted(topics)
    with pytest.raises(RuntimeError, match="closed"):
        producer.list_topics()


def test_asyncios_does_so_too(cluster, topics):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            assert await producer.list_topics(20) == topics
        with pytest.raises(RuntimeError, match="closed"):
            await producer.list_topics()

    run_in_loop(go())


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_broker_it_ends_with_its_time(kind):
    with KINDS[kind](properties(NOWHERE, QUIET)) as producer, Stopwatch() as watch:
        with pytest.raises(KafkaException, match=r"list_topics\(\) failed") as failure:
            producer.list_topics(0.3)
        assert failure.value.error.code in NO_ANSWER
        with pytest.raises(ValueError):
            producer.list_topics(-1)
    assert watch.seconds < 5


def test_asyncios_without_a_broker_can_be_cancelled():
    async def go():
        async with KafkaProducer(properties(NOWHERE, QUIET)) as producer:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await producer.list_topics(1)
            with pytest.raises(KafkaException, match="list_topics"):
                await producer.list_topics(0.1)

    run_in_loop(go())


def test_a_callback_may_not_wait_for_it(cluster, topic):
    refused = []

    def callback(metadata, error):
        with pytest.raises(RuntimeError, match="callback"):
            producer.list_topics()
        refused.append(metadata)

    with KafkaAsyncProducer(properties(cluster, linger_ms=0)) as producer:
        producer.send(topic, b"v", callback=callback)
    assert len(refused) == 1


INTERRUPTED = """
import os, signal, sys, threading, time
from kafkapp import KafkaAsyncProducer

signal.signal(signal.SIGINT, signal.default_int_handler)
producer = KafkaAsyncProducer({"bootstrap.servers": sys.argv[1], "log_cb": lambda *log: None, "error_cb": lambda error: None})
sent = []
threading.Timer(0.2, lambda: (sent.append(time.monotonic()), os.kill(os.getpid(), signal.SIGINT))).start()
try:
    producer.list_topics(3)
except KeyboardInterrupt:
    print(time.monotonic() - sent[0])
producer.close(0)
"""


def test_ctrl_c_ends_it():
    out, errors = finish(process := start_python(INTERRUPTED, NOWHERE))
    assert process.returncode == 0 and float(out) < 0.5, errors
