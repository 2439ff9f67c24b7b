"""The asyncio front: futures that are resolved in the loop, exactly once, with no thread and no polling."""
import asyncio
import gc
import os
import threading
import time

import pytest
from conftest import wait_for
from support import NOWHERE, consume, properties

from kafkapp import ErrorCode, KafkaException, ProducerRecord, RecordMetadata
from kafkapp.aio import KafkaProducer


QUIET = {"log_level": 0, "error_cb": lambda error: None}


def run(coroutine, seconds=20):
    async def bounded():
        return await asyncio.wait_for(coroutine, seconds)

    return asyncio.run(bounded(), debug=True)       # which tells of calls from a wrong thread


def test_awaiting_a_send_gives_the_metadata(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            metadata = await producer.send(ProducerRecord(topic, 1, b"key", b"value", "id"))
            assert isinstance(metadata, RecordMetadata)
            assert (metadata.partition, metadata.offset, metadata.record_id) == (1, 0, "id")
            assert len(producer) == 0

    run(go())
    assert [(message.key(), message.value()) for message in consume(cluster, topic, 1)] == [(b"key", b"value")]


def test_sends_are_in_order_and_each_has_its_own_outcome(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            record = ProducerRecord(topic, 0)
            futures = []
            for number in range(2000):
                record.value, record.id = b"%d" % number, number    # the same record, changed at once
                futures.append(producer.send(record))
            outcomes = await asyncio.gather(*futures)
            assert [outcome.record_id for outcome in outcomes] == list(range(2000))
            assert [outcome.offset for outcome in outcomes] == list(range(2000))

    run(go())
    assert [message.value() for message in consume(cluster, topic, 2000)] == [b"%d" % n for n in range(2000)]


def test_a_failure_is_raised_by_the_await(cluster, topic):
    async def go():
        cluster.push_request_errors("Produce", ErrorCode.RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS)
        async with KafkaProducer(properties(cluster, linger_ms=0)) as producer:
            with pytest.raises(KafkaException) as caught:
                await producer.send(ProducerRecord(topic, 0, None, b"v"))
            assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS
            with pytest.raises(KafkaException) as caught:
                await producer.send(ProducerRecord(topic, 0, None, b"v" * 2_000_000))
            assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
            with pytest.raises(TypeError):
                producer.send("no record")
            assert (await producer.send(ProducerRecord(topic, 0, None, b"v"))).offset == 0

    run(go())


def test_a_full_queue_makes_records_wait_in_order(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster, queue_buffering_max_messages=5, linger_ms=0)) as producer:
            futures = [producer.send(ProducerRecord(topic, 0, None, b"%d" % number, number)) for number in range(100)]
            assert len(producer) == 100
            outcomes = await asyncio.gather(*futures)
            assert [outcome.offset for outcome in outcomes] == list(range(100))

    run(go())
    assert [message.value() for message in consume(cluster, topic, 100)] == [b"%d" % n for n in range(100)]


def test_flush_ends_lingering_and_waits_for_what_was_sent_before(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster, linger_ms=60000)) as producer:
            future = producer.send(ProducerRecord(topic, 0, None, b"v"))
            begun = time.monotonic()
            await producer.flush(10)
            assert time.monotonic() - begun < 3
            assert future.done() and len(producer) == 0

    run(go())


def test_flush_and_close_that_run_out_of_time():
    async def go():
        producer = KafkaProducer(properties(NOWHERE, QUIET))
        futures = [producer.send(ProducerRecord("t", 0, None, b"v")) for _ in range(10)]
        with pytest.raises(KafkaException) as caught:
            await producer.flush(0.2)
        assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT
        begun = time.monotonic()
        await producer.close(0.2)
        assert time.monotonic() - begun < 3
        codes = {future.exception().error.code for future in futures}
        assert codes == {ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE}
        await producer.close()
        with pytest.raises(RuntimeError):
            producer.send(ProducerRecord("t"))

    run(go())


def test_a_cancelled_send_is_sent_all_the_same(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            future = producer.send(ProducerRecord(topic, 0, None, b"v"))
            future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await future
            assert (await producer.send(ProducerRecord(topic, 0, None, b"w"))).offset == 1

    run(go())


def test_the_loop_goes_on_and_no_thread_is_ours(cluster, topic):
    async def go():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        threads = threading.active_count()
        ticker = asyncio.ensure_future(tick())
        cluster.set_rtt(1, 0.2)
        producer = KafkaProducer(properties(cluster, linger_ms=0))
        await producer.send(ProducerRecord(topic, 0, None, b"v"))
        assert threading.active_count() == threads
        ticker.cancel()
        assert ticks > 20
        await producer.close()

    run(go())


def test_batches_and_metadata(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            batch = await producer.send_batch(topic, [b"a", b"b", None], partition=0)
            assert batch.done and list(batch.offsets) == [0, 1, 2]
            assert (await producer.send_batch(topic, [])).done
            metadata = await producer.fetch_broker_metadata(topic)
            assert metadata.topic == topic and 0 in metadata.partitions
            assert producer.get_property("linger.ms") == "5" and producer.client_id and producer.name

    run(go())


def test_another_thread_is_told(cluster, topic):
    async def go():
        async with KafkaProducer(properties(cluster)) as producer:
            def elsewhere():
                with pytest.raises(RuntimeError, match="another loop"):
                    asyncio.run(producer.flush())
                return True

            assert await asyncio.get_running_loop().run_in_executor(None, elsewhere)

    run(go())


def test_descriptors_are_given_back(cluster):
    def count():
        return len(os.listdir("/proc/self/fd"))

    async def go():
        async with KafkaProducer(properties(cluster)):
            pass

    run(go())
    before = count()
    for _ in range(5):
        run(go())
    wait_for(lambda: count() <= before + 2)


def test_a_producer_that_outlives_its_loop_warns_and_loses_no_report():
    async def go():
        producer = KafkaProducer(properties(NOWHERE, QUIET, message_timeout_ms=300))
        return producer, producer.send(ProducerRecord("t", 0, None, b"v"))

    producer, future = asyncio.run(go())
    inner = producer._producer
    with pytest.warns(ResourceWarning, match="never closed"):
        del producer
        inner.__del__()
        gc.collect()
    assert future.done() or len(inner) == 0
