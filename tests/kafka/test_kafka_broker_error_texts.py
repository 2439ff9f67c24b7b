"""Error messages of a real broker: they arrive if our librdkafka preserves them, else the error code's text does.

librdkafka 2.4.0 to 2.15.1 free them too early; `tests/support/sanitize.py asan tests/kafka/test_kafka_broker_error_texts.py` watches.
"""

import pytest
from helpers import Reports, keeps_words

from kafkapp import Error, ErrorCode, EventsPollingOption, KafkaAsyncProducer, KafkaException, KafkaSyncProducer, ProducerRecord

COMPACTED = ({"cleanup.policy": "compact"}, {}, "Compacted topic cannot accept message without key")
OLD = ({"message.timestamp.before.max.ms": "1000"}, {"timestamp": 1}, "Timestamp 1 of message with offset 0 is out of range")
CODES = {COMPACTED[2]: ErrorCode.RD_KAFKA_RESP_ERR_INVALID_RECORD, OLD[2]: ErrorCode.RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP}


def check(error, words):
    assert error.code == CODES[words]
    if keeps_words():
        assert words in error.message, error.message
    else:
        assert error.message == Error(error.code).message


@pytest.mark.parametrize("config, more, words", [COMPACTED, OLD], ids=["compacted", "old"])
@pytest.mark.parametrize("polling", list(EventsPollingOption))
def test_what_the_broker_says_of_each_record(kafka, make_topic, polling, config, more, words):
    topic, reports = make_topic(config=config), Reports()
    with KafkaAsyncProducer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 0}, polling) as producer:
        for number in range(20):
            producer.send(ProducerRecord(topic, 0, value=b"v", id=number, **more), reports)
            producer.flush(30)
        producer.send(ProducerRecord(topic, 0, key=b"k", value=b"v", id="good"), reports)
        producer.flush(30)
    (good, none), *refused = reversed(reports.calls)
    assert good.record_id == "good" and good.offset == 0 and none is None
    assert len(refused) == 20 and {metadata.offset for metadata, _ in refused} == {None}
    for _, error in refused:
        check(error, words)


@pytest.mark.parametrize("config, more, words", [COMPACTED, OLD], ids=["compacted", "old"])
def test_what_the_broker_says_to_one_that_waits(kafka, make_topic, config, more, words):
    topic = make_topic(config=config)
    with KafkaSyncProducer({"bootstrap.servers": kafka.bootstrap_servers}) as producer:
        for _ in range(20):
            with pytest.raises(KafkaException) as caught:
                producer.send(ProducerRecord(topic, 0, value=b"v", **more), 30)
            check(caught.value.error, words)
