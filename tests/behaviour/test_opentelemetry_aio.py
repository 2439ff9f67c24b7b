"""Spans of kafkapp.aio: they end with the report of their record, whatever becomes of its future and of the loop."""
import asyncio
import gc

import pytest
from helpers import HELD, properties, wait_for

import kafkapp.aio
from kafkapp import ErrorCode, KafkaException, ProducerRecord
from kafkapp.testing import ApiKey

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.trace import StatusCode
from spans import DEAD, QUIET, assert_delivered, failed, parent_header, spans_fixture  # noqa: F401


def test_a_record_from_asyncio(cluster, topic, spans):
    async def main():
        async with spans.traced(kafkapp.aio.KafkaProducer)(properties(cluster, {"client.id": "orders"})) as producer:
            first = await producer.send(topic, b"v", key="k", partition=1)
            second = await producer.send_and_wait(ProducerRecord(topic, 1, b"k", b"v"))
            return first, second

    outcomes = asyncio.run(main())
    assert len(spans.ended) == 2
    for span, metadata in zip(spans.ended, outcomes, strict=True):
        assert_delivered(span, topic, "orders", **{"messaging.destination.partition.id": "1", "messaging.kafka.offset": metadata.offset,
                                                   "messaging.kafka.message.key": "k"})
    assert [record.headers for record in cluster.records(topic)] == [[("traceparent", parent_header(span))] for span in spans.ended]


def test_batches_and_failures_in_a_loop(cluster, topic, spans):
    async def main():
        async with spans.traced(kafkapp.aio.KafkaProducer)(properties(cluster, QUIET)) as producer:
            await producer.send_batch(topic, [b"a", b"b"])
            cluster.push_request_errors(ApiKey.Produce, ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
            with pytest.raises(KafkaException):
                await producer.send(topic, b"v")
            for call in (producer.send, producer.send_batch):
                with pytest.raises(TypeError):
                    call(topic, 5)
        for call in (lambda: producer.send(topic, b"v"), lambda: producer.send_batch(topic, [b"v"])):
            with pytest.raises(RuntimeError):
                call()

    asyncio.run(main())
    of_batch, refused, malformed, closed, batch_closed = spans.ended
    assert of_batch.attributes["messaging.batch.message_count"] == 2 and of_batch.status.status_code is StatusCode.UNSET
    assert failed(refused, ErrorCode.RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
    assert [span.attributes["error.type"] for span in (malformed, closed, batch_closed)] == ["TypeError", "RuntimeError", "RuntimeError"]
    assert [record.headers[0][0] for record in cluster.records(topic)] == ["traceparent"] * 2


def test_a_future_that_is_cancelled(spans):
    async def main():
        async with spans.traced(kafkapp.aio.KafkaProducer)(DEAD | HELD) as producer:
            assert producer.send("t", b"v").cancel() and producer.send_batch("t", [b"v"]).cancel()
            await asyncio.sleep(0)
            producer.purge()

    asyncio.run(main())
    assert [span.attributes["error.type"] for span in spans.ended] == ["asyncio.exceptions.CancelledError"] * 2


def test_a_failure_that_nobody_retrieves_is_reported_all_the_same(spans, caplog):
    async def main():
        async with spans.traced(kafkapp.aio.KafkaProducer)(DEAD | {"message.timeout.ms": 50, "linger.ms": 0}) as producer:
            producer.send("t", b"v")

    asyncio.run(main())
    gc.collect()
    wait_for(lambda: "were never retrieved" in caplog.text, 60)
    assert failed(spans.one(), ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT)


@pytest.mark.filterwarnings("ignore:.*never closed:ResourceWarning")
def test_a_loop_that_ends_first(spans):
    """Its futures are never done; the spans end when they are dropped."""
    async def main():
        producer = spans.traced(kafkapp.aio.KafkaProducer)(DEAD | {"message.timeout.ms": 50, "linger.ms": 0})
        producer.send("t", b"v")
        return producer

    loop = asyncio.new_event_loop()
    producer = loop.run_until_complete(main())
    loop.close()
    del producer
    gc.collect()
    wait_for(lambda: gc.collect() is not None and spans.ended, 60)
    assert spans.one().status.status_code is StatusCode.ERROR


def test_try_send_in_a_loop(spans):
    said = []

    async def main():
        made = DEAD | HELD | {"queue.buffering.max.messages": 1}
        async with spans.traced(kafkapp.aio.KafkaProducer)(made) as producer:
            assert producer.try_send("t", b"v", callback=lambda metadata, error: said.append(error.code)) is None
            assert producer.try_send("t", b"v").code == ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL
            producer.purge()

    asyncio.run(main())
    refused, purged = spans.ended
    assert failed(refused, ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL) and failed(purged, ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE)
    assert said == [ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE]
