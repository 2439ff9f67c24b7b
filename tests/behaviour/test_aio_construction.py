"""Construction of an asyncio producer: twice, not at all, in a loop that cannot drive it, without threads."""
import asyncio
import os

import pytest
from helpers import NOWHERE, properties, run_in_loop

from kafkapp import ErrorCode, KafkaException, ProducerRecord
from kafkapp.aio import KafkaProducer, loop_side, threads

QUIET = {"log_level": 0, "error_cb": lambda error: None}
SECONDS = 10


def test_without_threads(broker, topic, monkeypatch):
    def refuse(function):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "start_thread", refuse)
    monkeypatch.setattr(loop_side, "start_thread", refuse)

    async def go():
        producer = KafkaProducer(properties(broker, linger_ms=100))
        futures = [producer.send(ProducerRecord(topic, 0, value=b"v")) for _ in range(3)]
        await asyncio.wait_for(producer.flush(), SECONDS)       # when it has lingered
        assert all(future.done() for future in futures)
        with pytest.raises(KafkaException) as caught:
            await producer.fetch_broker_metadata(topic)
        assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE
        await asyncio.wait_for(producer.close(), SECONDS)
        assert "closed" in repr(producer)

    run_in_loop(go())


def test_a_loop_that_cannot_watch_descriptors_is_refused():
    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, *args):
            raise NotImplementedError

    async def go(producer):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with pytest.raises(RuntimeError, match=r"add_reader\(\)"):
                producer.send(ProducerRecord("t", 0))
        assert len(os.listdir("/proc/self/fd")) == before

    producer = KafkaProducer(properties(NOWHERE, QUIET))
    loop = Loop()
    loop.run_until_complete(go(producer))
    loop.close()
    with pytest.warns(ResourceWarning):
        del producer


def test_init_twice_is_refused_and_changes_nothing(broker, topic):
    async def go():
        made = properties(broker, linger_ms=0)
        async with KafkaProducer(made) as producer:
            for properties_ in made, {}, {"bootstrap.servers": NOWHERE}:
                with pytest.raises(RuntimeError, match=r"KafkaProducer\.__init__\(\) was called already"):
                    producer.__init__(properties_)
            assert (await producer.send(ProducerRecord(topic, 0, value=b"v"))).offset == 0
        with pytest.raises(RuntimeError, match="called already"):
            producer.__init__(made)

    run_in_loop(go())


def test_init_may_be_tried_again_when_it_has_failed(broker, topic):
    async def go():
        producer = KafkaProducer.__new__(KafkaProducer)
        with pytest.raises(KafkaException):
            producer.__init__({"no.such.property": 1})
        producer.__init__(properties(broker, linger_ms=0))
        assert (await producer.send(ProducerRecord(topic, 0, value=b"v"))).offset == 0
        await producer.close()

    run_in_loop(go())


class WithoutInit(KafkaProducer):
    def __init__(self):
        pass


CALLS_OF_NOTHING = [
    lambda producer: producer.send(ProducerRecord("t")), lambda producer: producer.send_batch("t", []),
    lambda producer: producer.flush(), lambda producer: producer.close(), lambda producer: producer.fetch_broker_metadata("t"),
    lambda producer: producer.purge(), lambda producer: producer.name, lambda producer: producer.client_id,
    lambda producer: producer.properties, lambda producer: producer.get_property("acks"), len,
    lambda producer: producer.__aenter__(), lambda producer: producer.__aexit__(None, None, None),
]


@pytest.mark.parametrize("make", [WithoutInit, lambda: KafkaProducer.__new__(KafkaProducer)], ids=["subclass", "__new__"])
def test_without_init_every_call_says_so(make):
    async def go():
        producer = make()
        for call in CALLS_OF_NOTHING:
            with pytest.raises(RuntimeError, match=r"__init__\(\) was not called"):
                outcome = call(producer)
                if asyncio.iscoroutine(outcome):
                    await outcome
        assert producer and "without" in repr(producer)

    run_in_loop(go())
