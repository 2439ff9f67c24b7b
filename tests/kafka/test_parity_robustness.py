"""The modern C++ Kafka API's robustness tests (parity.md, R1 to R8): all brokers paused by SIGSTOP while records are sent."""

import threading
import time

import pytest
from readback import read_messages

import kafkapp
from kafkapp import ErrorCode, EventsPollingOption, KafkaException, ProducerRecord, Timestamp

MSG_TIMED_OUT = ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT


@pytest.fixture
def properties(kafka_nodes):
    def properties(**more):
        servers = {"bootstrap.servers": kafka_nodes.bootstrap_servers}
        return servers | {name.replace("_", "."): value for name, value in more.items()}

    return properties


class Reports:
    """A delivery callback that keeps each report by ID, with its time and thread."""

    def __init__(self):
        self.by_id = {}
        self.times = []
        self.threads = set()

    def __call__(self, metadata, error):
        self.by_id.setdefault(metadata.record_id, []).append((metadata, error))
        self.times.append(time.time())
        self.threads.add(threading.get_ident())

    def codes(self):
        """Per id the list of its codes: one code each when every record is reported exactly once."""
        return {number: [error and error.code for _, error in said] for number, said in sorted(self.by_id.items())}


def send(producer, topic, reports, count, **record):
    for number in range(count):
        producer.send(ProducerRecord(topic, 0, None, str(number), id=number, **record), reports)


@pytest.mark.parametrize("kind", [Timestamp.Type.CreateTime, Timestamp.Type.LogAppendTime])
def test_r1_a_record_bears_the_time_of_its_send_or_of_its_append(kind, kafka_nodes, make_topic, properties):
    topic = make_topic(config={"message.timestamp.type": kind.name})
    reports = Reports()
    with kafkapp.KafkaAsyncProducer(properties(linger_ms=0)) as producer:
        producer.fetch_broker_metadata(topic)
        pause = kafka_nodes.pause_for(3)
        sent = time.time()
        send(producer, topic, reports, 1)
        pause.join()
    ((metadata, error),) = reports.by_id[0]
    assert error is None
    assert metadata.timestamp.type == kind
    acknowledged = reports.times[0]
    assert acknowledged - sent >= 2.5
    expected = sent if kind == Timestamp.Type.CreateTime else acknowledged
    assert abs(metadata.timestamp.ms / 1000 - expected) < 1
    assert metadata.latency >= 2.5
    (message,) = read_messages(kafka_nodes.bootstrap_servers, topic)
    assert message.timestamp()[1] == metadata.timestamp.ms


def test_r2_no_callback_is_missed(kafka_nodes, topic, properties):
    reports = Reports()
    with kafkapp.KafkaAsyncProducer(properties(message_timeout_ms=2000)) as producer:
        producer.fetch_broker_metadata(topic)
        pause = kafka_nodes.pause_for(2)
        send(producer, topic, reports, 10)
    pause.join()
    assert list(reports.by_id) == list(range(10))
    assert all(codes in ([None], [MSG_TIMED_OUT]) for codes in reports.codes().values())


def test_r3_a_close_that_times_out_purges_and_runs_every_callback(kafka_nodes, topic, properties):
    reports = Reports()
    with kafka_nodes.paused():
        producer = kafkapp.KafkaAsyncProducer(properties())
        send(producer, topic, reports, 10)
        with pytest.raises(KafkaException) as failure:
            producer.flush(1)
        assert failure.value.error.code == ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT
        assert reports.by_id == {}
        begin = time.monotonic()
        producer.close(1)
        assert 0.9 < time.monotonic() - begin < 6
    purged = {ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE, ErrorCode.RD_KAFKA_RESP_ERR__PURGE_INFLIGHT}
    assert list(reports.by_id) == list(range(10))
    assert all(len(codes) == 1 and codes[0] in purged for codes in reports.codes().values())


def test_r3_records_in_flight_are_purged_as_such_and_their_fate_is_open(kafka_nodes, topic, properties):
    reports = Reports()
    producer = kafkapp.KafkaAsyncProducer(properties(linger_ms=0))
    producer.fetch_broker_metadata(topic)
    send(producer, topic, reports, 1)
    producer.flush(30)
    with kafka_nodes.paused():
        producer.send(ProducerRecord(topic, 0, None, b"in flight", id=1), reports)
        with pytest.raises(KafkaException):
            producer.flush(0.5)
        producer.close(0.5)
    assert reports.codes() == {0: [None], 1: [ErrorCode.RD_KAFKA_RESP_ERR__PURGE_INFLIGHT]}
    assert reports.by_id[1][0][0].persisted_status == kafkapp.PersistedStatus.Possibly


def test_r4_brokers_that_stop_for_less_than_the_timeout_lose_nothing(kafka_nodes, topic, properties):
    reports = Reports()
    with kafkapp.KafkaAsyncProducer(properties(message_timeout_ms=30000)) as producer:
        producer.fetch_broker_metadata(topic)
        pause = kafka_nodes.pause_for(3)
        send(producer, topic, reports, 3)
    pause.join()
    assert reports.codes() == {0: [None], 1: [None], 2: [None]}
    assert [m.value() for m in read_messages(kafka_nodes.bootstrap_servers, topic)] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("connected", [True, False])
def test_r5_records_time_out_while_the_brokers_are_stopped(connected, kafka_nodes, topic, properties):
    reports = Reports()
    with kafkapp.KafkaAsyncProducer(properties(message_timeout_ms=1500)) as producer:
        if connected:
            producer.fetch_broker_metadata(topic)
        with kafka_nodes.paused():
            begin = time.monotonic()
            send(producer, topic, reports, 3)
            producer.flush(10)
            assert 1.4 < time.monotonic() - begin < 6
    assert reports.codes() == {number: [MSG_TIMED_OUT] for number in range(3)}


def test_r6_records_time_out_while_the_brokers_are_stopped_when_polled_by_hand(kafka_nodes, topic, properties):
    reports = Reports()
    manual = EventsPollingOption.Manual
    with kafkapp.KafkaAsyncProducer(properties(message_timeout_ms=1500), manual) as producer, kafka_nodes.paused():
        send(producer, topic, reports, 3)
        served = 0
        deadline = time.monotonic() + 10
        while served < 3 and time.monotonic() < deadline:
            served += producer.poll_events(1)
        assert served == 3
    assert reports.codes() == {number: [MSG_TIMED_OUT] for number in range(3)}
    assert reports.threads == {threading.get_ident()}


def test_r7_a_close_without_any_poll_runs_the_callbacks_on_its_own_thread(kafka_nodes, topic, properties):
    reports = Reports()
    with kafka_nodes.paused():
        producer = kafkapp.KafkaAsyncProducer(properties(message_timeout_ms=1500), EventsPollingOption.Manual)
        send(producer, topic, reports, 3)
        closer = threading.Thread(target=producer.close)
        closer.start()
        closer.join(15)
        assert not closer.is_alive()
    assert reports.codes() == {number: [MSG_TIMED_OUT] for number in range(3)}
    assert reports.threads == {closer.ident}


def test_r8_a_synchronous_send_raises_when_its_record_timed_out(kafka_nodes, topic, properties):
    with kafkapp.KafkaSyncProducer(properties(message_timeout_ms=1500)) as producer, kafka_nodes.paused():
        with pytest.raises(TimeoutError) as failure:
            producer.send(ProducerRecord(topic, 0, b"k", b"v"))
        assert failure.value.error.code == MSG_TIMED_OUT
