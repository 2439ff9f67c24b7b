"""MockCluster.records(): what a topic holds, compared with what another client reads from it."""
import signal
import threading
import time

import pytest
from helpers import Stopwatch, consume, properties

from kafkapp import ErrorCode, KafkaAsyncProducer, KafkaException, KafkaSyncProducer
from kafkapp.testing import MockCluster, StoredRecord


def test_every_field_of_every_record(broker, topic):
    with KafkaSyncProducer(properties(broker)) as producer:
        for number in range(4):
            producer.send(topic, f"v{number}", key=b"k" * number, partition=number % 2, timestamp=1_700_000_000_000 + number,
                          headers=[("h", b"\0\xff"), ("h", None), ("ž", b"")] if number else None)
        producer.send(topic, None, partition=3)
        producer.send(topic, b"", key=b"", partition=3)
    records = broker.records(topic)
    assert [(r.partition, r.offset) for r in records] == [(0, 0), (0, 1), (1, 0), (1, 1), (3, 0), (3, 1)]
    assert records[1] == StoredRecord(topic, 0, 1, b"kk", b"v2", [("h", b"\0\xff"), ("h", None), ("ž", b"")], 1_700_000_000_002)
    assert [(r.key, r.value, r.headers) for r in records[-2:]] == [(None, None, []), (b"", b"", [])]
    seen = [(m.partition(), m.offset(), m.key(), m.value(), m.headers() or [], m.timestamp()[1]) for m in consume(broker, topic, 6)]
    assert seen == [(r.partition, r.offset, r.key, r.value, r.headers, r.timestamp) for r in records]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4"])
def test_many_records(broker, topic, codec):
    with KafkaAsyncProducer(properties(broker, compression_codec=codec)) as producer:
        assert producer.send_batch(topic, [b"%d" % number for number in range(20_000)], partition=2).wait(30)
    records = broker.records(topic, timeout=30)
    assert [record.value for record in records] == [b"%d" % number for number in range(20_000)]
    assert [record.offset for record in records] == list(range(20_000))


def test_an_empty_topic_and_one_that_is_not_there(broker, topic):
    assert broker.records(topic) == []
    with pytest.raises(KafkaException) as caught:
        broker.records("not-there-" + topic)
    assert caught.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
    for wrong, kind in ((5, TypeError), ("", ValueError), ("a\0b", ValueError)):
        with pytest.raises(kind):
            broker.records(wrong)
    with pytest.raises(TypeError, match="timeout"):
        broker.records(topic, timeout="1")


def test_a_broker_that_is_down_is_an_error_in_time(cluster, topic):
    with KafkaSyncProducer(properties(cluster)) as producer:
        producer.send(topic, b"v")
    cluster.broker_down(None)
    with Stopwatch() as watch, pytest.raises(TimeoutError):
        cluster.records(topic, timeout=0.5)
    assert watch.seconds < 10
    cluster.broker_up(None)
    assert [record.value for record in cluster.records(topic, timeout=60)] == [b"v"]


def test_ctrl_c_ends_it(cluster, topic):
    cluster.set_rtt(None, 60)
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        cluster.records(topic, timeout=60)
    timer.join()
    assert time.monotonic() - begin < 15


def test_a_closed_cluster():
    cluster = MockCluster()
    cluster.close()
    with pytest.raises(RuntimeError, match="closed"):
        cluster.records("t")
