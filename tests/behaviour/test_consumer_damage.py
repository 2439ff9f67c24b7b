"""Damaged answers to a consumer: an error, never a wrong record. With check.crcs, which is off unless it is set."""
import pytest
from consumers import new_consumer, plain
from helpers import properties
from proxy import FETCH, Front

from kafkapp import ErrorCode, KafkaException, KafkaSyncProducer

VALUES = [b"%04d" % row * 20 for row in range(10)]      # one batch, at the end of the answer; all of this is within its checksum


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4"])
@pytest.mark.parametrize("at", [-8, -20, -40])
def test_a_flipped_bit_is_an_error(broker, topic, at, codec):
    """Which the poll raises in place of the batch's records. Where to go on is the program's: librdkafka has lost the place."""
    with KafkaSyncProducer(properties(broker, compression_type=codec)) as producer:
        producer.send_batch(topic, VALUES, partition=0)
    with Front(broker.bootstrap_servers) as front, new_consumer(front, topic, [0], check_crcs=True) as consumer:
        rules, found = [proxy.flip_response(at, api=FETCH) for proxy in front], []
        with pytest.raises(KafkaException) as raised:
            while True:
                found += consumer.poll(20)
        assert raised.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__BAD_MSG and f"{topic} [0]: " in str(raised.value)
        assert found == [] and consumer.position((topic, 0)) is None and any(rule.fired for rule in rules)
    with new_consumer(broker, topic, [0]) as again:
        while len(found) < len(VALUES):
            found += again.poll(20)
    assert [(record.offset, plain(record.value)) for record in found] == list(enumerate(VALUES))


@pytest.mark.parametrize("at", [-8, -20, -40])
@pytest.mark.parametrize("codec", ["gzip", "lz4"])
def test_what_cannot_be_unpacked_is_an_error_without_checksums(broker, topic, at, codec):
    """Or it is the right records: where the bit changes nothing."""
    with KafkaSyncProducer(properties(broker, compression_type=codec)) as producer:
        producer.send_batch(topic, VALUES, partition=0)
    with Front(broker.bootstrap_servers) as front, new_consumer(front, topic, [0]) as consumer:
        rules, found = [proxy.flip_response(at, api=FETCH) for proxy in front], []
        try:
            while len(found) < len(VALUES):
                found += consumer.poll(20)
        except KafkaException as error:
            assert f"{topic} [0]: " in str(error)
        assert any(rule.fired for rule in rules) and len(found) in (0, len(VALUES))
