"""The modern C++ Kafka API's robustness tests of its consumer (CR3 to CR6): all brokers are away for a while.

They are paused by SIGSTOP. No poll raises, no record is missed, none comes twice.
"""
import contextlib
import threading

import pytest
from helpers import wait_for
from ledger import LogRecord
from ledger_load import Load, open_sender

from kafkapp import KafkaConsumer, KafkaSyncProducer

PARTITIONS = 3
AWAY = 2        # seconds


@pytest.fixture
def away(kafka_nodes):
    """A context manager: the brokers are away when it begins, and back before it ends."""

    @contextlib.contextmanager
    def away():
        pause = kafka_nodes.pause_for(AWAY)
        yield
        pause.join()

    return away


@pytest.fixture
def filled(kafka_nodes, make_topic):
    topic = make_topic(partitions=PARTITIONS)
    with KafkaSyncProducer({"bootstrap.servers": kafka_nodes.bootstrap_servers}) as producer:
        for partition in range(PARTITIONS):
            assert not producer.send_batch(topic, [b"%d" % number for number in range(100)], partition=partition).failures()
    return topic


class Reader:
    """Polls in a thread from its start on, until it is stopped: what it has read, and the ends that it has seen."""

    def __init__(self, kafka, **more):
        self.consumer = KafkaConsumer({"bootstrap.servers": kafka.bootstrap_servers, "enable.partition.eof": True, "fetch.wait.max.ms": 50,
                                       "auto.offset.reset": "earliest", "reconnect.backoff.max.ms": 300, "error_cb": lambda error: None,
                                       "log_cb": lambda *line: None, **more})
        self.log, self.eofs, self.failure, self.polls = [], {}, None, 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader")

    def _run(self):
        try:
            while not self._stopped.is_set():
                batch = self.consumer.poll(0.2)
                self.polls += 1
                self.log += [LogRecord(record.partition, record.offset, bytes(record.value), reader="ours", poll=self.polls) for record in batch]
                self.eofs |= {place.partition: end for place, end in batch.eofs.items()}
        except Exception as failure:  # noqa: BLE001 - raised again in the test's thread
            self.failure = failure

    def wait(self, predicate, timeout=60):
        wait_for(lambda: self.failure or predicate(), timeout)
        if self.failure:
            raise self.failure

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *failure):
        self._stopped.set()
        self._thread.join(60)
        self.consumer.close()


def read_all(reader):
    """Wait for the ends of all partitions: each record has come, each partition's in order."""
    reader.wait(lambda: reader.eofs == dict.fromkeys(range(PARTITIONS), 100))
    places = sorted((record.partition, record.offset, record.value) for record in reader.log)
    assert places == [(partition, number, b"%d" % number) for partition in range(PARTITIONS) for number in range(100)]
    for partition in range(PARTITIONS):
        assert [record.offset for record in reader.log if record.partition == partition] == list(range(100))


def test_cr3_brokers_are_away_when_the_consumer_starts(kafka_nodes, filled, away):
    with away():
        reader = Reader(kafka_nodes)
        reader.consumer.subscribe([filled])
        with reader:
            read_all(reader)


def test_cr4_brokers_are_away_when_it_gets_its_topic(kafka_nodes, filled, away):
    reader = Reader(kafka_nodes)
    assert not reader.consumer.poll(0.1)
    with away():
        reader.consumer.subscribe([filled])
        with reader:
            read_all(reader)


def test_cr5_brokers_are_away_when_it_seeks(kafka_nodes, filled, away):
    reader = Reader(kafka_nodes)
    reader.consumer.assign({(filled, partition): 0 for partition in range(PARTITIONS)})
    eofs = {}
    wait_for(lambda: eofs.update(reader.consumer.poll(1).eofs) or len(eofs) == PARTITIONS, 60)     # it has read all
    with away():
        reader.consumer.seek_to_beginning(timeout=30)
        with reader:
            read_all(reader)


def test_cr6_brokers_go_away_while_it_polls(kafka_nodes, make_topic, ledger):
    topic = make_topic(assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]])
    reader = Reader(kafka_nodes)
    reader.consumer.subscribe([topic])
    with reader, open_sender(ledger, kafka_nodes.bootstrap_servers) as sender:
        with Load(sender, topic, partitions=range(PARTITIONS)):
            reader.wait(lambda: len(reader.log) > 100)
            kafka_nodes.pause_for(AWAY).join()
            sender.wait_delivered(200)
        sender.close()
        reader.wait(lambda: len(reader.log) >= sender.accepted)
    verdict = ledger.verdict(reader.log)
    assert verdict.faults() == {} and verdict.delivered == sender.accepted >= 300
