"""kafkapp.aio: `closed`, and flush of a producer that is closed or closing."""
import asyncio

import pytest
from helpers import NOWHERE, properties, run_in_loop

from kafkapp import ErrorCode, KafkaException, ProducerRecord
from kafkapp.aio import KafkaProducer

QUIET = {"log_level": 0, "error_cb": lambda error: None}


def test_it_says_that_it_is_closed_and_flush_has_nothing_to_wait_for(broker):
    async def go():
        producer = KafkaProducer(properties(broker))
        assert producer.closed is False
        await producer.close()
        assert producer.closed is True
        for timeout in None, 0, 5:
            assert await producer.flush(timeout) is None

    run_in_loop(go())


def test_a_flush_while_it_closes_waits_for_that_or_for_its_own_time():
    async def go():
        producer = KafkaProducer(properties(NOWHERE, QUIET))
        future = producer.send(ProducerRecord("t", value=b"v"))
        closing = asyncio.ensure_future(producer.close())
        await asyncio.sleep(0)
        assert producer.closed
        flushing = asyncio.ensure_future(producer.flush())
        with pytest.raises(KafkaException, match=r"flush\(\) timed out"):
            await producer.flush(0.1)
        closing.cancel()
        await asyncio.wait([closing])
        assert not producer.closed and not flushing.done()
        producer.purge()
        await flushing
        assert future.exception().error.code == ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE
        await producer.close()

    run_in_loop(go())
