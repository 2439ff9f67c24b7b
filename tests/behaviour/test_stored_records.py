"""MockCluster.records() and committed(): what the cluster holds, compared with what another client reads and commits."""
import signal
import threading
import time

import confluent_kafka as ck
import pytest
from helpers import Stopwatch, consume, properties

from kafkapp import ErrorCode, KafkaAsyncProducer, KafkaException, KafkaSyncProducer
from kafkapp.testing import ApiKey, MockCluster, StoredRecord


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
    with pytest.raises(KafkaException, match="there is no topic 'not-there-t-.*nothing has been sent to it yet") as caught:
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


@pytest.mark.parametrize("read", [MockCluster.records, MockCluster.committed])
def test_ctrl_c_ends_it(cluster, topic, read):
    cluster.set_rtt(None, 60)
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        read(cluster, topic, timeout=60)
    timer.join()
    assert time.monotonic() - begin < 15


def test_a_closed_cluster():
    cluster = MockCluster()
    cluster.close()
    for read in (cluster.records, cluster.committed):
        with pytest.raises(RuntimeError, match="closed"):
            read("t")


def test_a_repr_is_short_and_loses_nothing_short():
    record = StoredRecord("t", 1, 2, b"k" * 100, b"v" * 101, [("h", None), ("big", bytes(2_000_000))], 1_700_000_000_000)
    said = repr(record)
    assert f"StoredRecord('t', 1, 2, key={b'k' * 100!r}, value={b'v' * 100!r}... of 101, headers=[('h', None), ('big', b'" in said
    assert said.endswith("'... of 2000000)], timestamp=1700000000000)") and len(said) < 1000
    assert repr(record._replace(key=None, value=b"", headers=[])).endswith("key=None, value=b'', headers=[], timestamp=1700000000000)")


# -- committed() ---------------------------------------------------------------------------------------------------------

def commit(cluster, group, offsets):
    consumer = ck.Consumer({"bootstrap.servers": cluster.bootstrap_servers, "group.id": group, "log_level": 0, "enable.auto.commit": False})
    consumer.commit(offsets=[ck.TopicPartition(*offset) for offset in offsets], asynchronous=False)
    consumer.close()


def test_what_consumers_have_committed(cluster, topic):
    assert cluster.committed("billing") == {}
    cluster.create_topic("another", 2)
    commit(cluster, "billing", [(topic, 0, 5), (topic, 3, 0), ("another", 1, 2**40)])
    commit(cluster, "audit", [(topic, 0, 1)])
    assert cluster.committed("billing") == {(topic, 0): 5, (topic, 3): 0, ("another", 1): 2**40}
    assert (cluster.committed("audit"), cluster.committed("nobody")) == ({(topic, 0): 1}, {})
    commit(cluster, "audit", [(topic, 0, 2)])
    assert cluster.committed("audit", timeout=None) == {(topic, 0): 2}


def test_a_cluster_without_topics_has_no_offsets():
    with MockCluster() as cluster:
        assert cluster.committed("billing") == {}


@pytest.mark.filterwarnings("ignore:send_offsets_to_transaction")
def test_offsets_of_a_transaction_are_not_kept(cluster, topic):
    """As committed() says: a librdkafka that keeps them fails this test, and then its docstring and testing.md are out of date."""
    with KafkaSyncProducer(properties(cluster, transactional_id="copy")) as producer:
        producer.init_transactions(30)
        with producer.transaction():
            producer.send_offsets_to_transaction([(topic, 1, 9)], "billing", timeout=30)
    assert cluster.committed("billing") == {}


def test_a_wrong_group_and_a_cluster_that_does_not_answer(cluster, topic):
    for wrong, kind in ((5, TypeError), (b"g", TypeError), ("", ValueError), ("a\0b", ValueError)):
        with pytest.raises(kind, match="group"):
            cluster.committed(wrong)
    commit(cluster, "billing", [(topic, 0, 5)])
    cluster.push_request_errors(ApiKey.FIND_COORDINATOR, *[ErrorCode.COORDINATOR_NOT_AVAILABLE] * 2)
    assert cluster.committed("billing", 60) == {(topic, 0): 5}        # asked again
    for breaks in (lambda: cluster.push_request_errors(ApiKey.FIND_COORDINATOR, *[ErrorCode.COORDINATOR_NOT_AVAILABLE] * 1000),
                   lambda: cluster.broker_down(None)):
        breaks()
        with Stopwatch() as watch, pytest.raises(TimeoutError, match=r"committed\(\): no broker has answered in time"):
            cluster.committed("billing", 0.5)
        assert watch.seconds < 10
