"""Sends ledger records from a thread, at a rate, while a test disturbs the cluster.

Two senders of one shape: kafkapp, which is under test, and confluent-kafka, which shows
whether a finding is ours (KAFKAPP_TEST_SENDER=confluent runs the fault tests with it).
"""

import os
import threading
import time

import confluent_kafka
from ledger import NOT_PERSISTED, UNKNOWN

# What exactly-once asks for, with timeouts that let a test see retries: socket.timeout.ms bounds the wait for one answer.
EXACTLY_ONCE = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "message.timeout.ms": 60000,
    "socket.timeout.ms": 3000,
    "retry.backoff.ms": 50,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 300,
    "topic.metadata.refresh.interval.ms": 1000,
}


class ProducerIsFatal(AssertionError):
    """The producer has failed for good."""


class Sender:
    """Counts the producer's reports and enters them into the ledger."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.accepted = 0
        self.delivered = 0
        self.reported = 0
        self.fatal = False
        self._progress = threading.Condition()

    def _completed(self, identity, kind, partition=None, offset=None, code=0):
        if kind is None:
            self.ledger.delivered(identity, partition, offset)
        else:
            self.ledger.report(identity, kind, code=code)
        with self._progress:
            self.delivered += kind is None
            self.reported += 1
            self._progress.notify_all()

    def _refused(self, identity, code, fatal):
        self.ledger.refused(identity, code)
        if fatal:
            with self._progress:
                self.fatal = True
                self._progress.notify_all()

    def wait_delivered(self, more, timeout=60):
        """Wait until `more` records have been delivered from now on: the sign that the cluster serves again."""
        with self._progress:
            goal = self.delivered + more
            arrived = self._progress.wait_for(lambda: self.delivered >= goal or self.fatal, timeout)
            if self.fatal:
                raise ProducerIsFatal(f"{self.ledger.counts()}, codes {self.ledger.codes()}")
            if not arrived:
                raise AssertionError(f"no {more} records more were delivered in {timeout} s: {self.ledger.counts()}")

    def wait_all(self, timeout=60):
        """Wait until every record that was accepted has been reported, whichever way."""
        with self._progress:
            if not self._progress.wait_for(lambda: self.reported >= self.accepted, timeout):
                raise AssertionError(f"{self.accepted - self.reported} records unreported: {self.ledger.counts()}")

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.close()


class KafkappSender(Sender):
    def __init__(self, ledger, bootstrap_servers, properties):
        import kafkapp

        super().__init__(ledger)
        self._kafkapp = kafkapp
        self.producer = kafkapp.KafkaAsyncProducer(properties | {"bootstrap.servers": bootstrap_servers})

    def send(self, topic, partition=None, producer=0, size=100):
        identity, payload = self.ledger.stamp(producer, size)

        def callback(metadata, error):
            if error is None:
                self._completed(identity, None, metadata.partition, metadata.offset)
            else:
                never = metadata.persisted_status == self._kafkapp.PersistedStatus.Not
                self._completed(identity, NOT_PERSISTED if never else UNKNOWN, code=int(error.code))

        record = self._kafkapp.ProducerRecord(topic, partition, None, payload)
        try:
            self.producer.send(record, callback, timeout=60)
        except self._kafkapp.KafkaException as failure:
            self._refused(identity, int(failure.error.code), failure.error.is_fatal)
        else:
            self.accepted += 1

    def close(self):
        self.producer.close(90)


class ConfluentSender(Sender):
    def __init__(self, ledger, bootstrap_servers, properties):
        super().__init__(ledger)
        self.producer = confluent_kafka.Producer(properties | {"bootstrap.servers": bootstrap_servers, "log_level": 2})
        self._done = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="confluent-poller", daemon=True)
        self._poller.start()

    def _poll(self):
        while not self._done.is_set():
            self.producer.poll(0.1)

    def send(self, topic, partition=None, producer=0, size=100):
        identity, payload = self.ledger.stamp(producer, size)

        def on_delivery(error, message):
            if error is None:
                self._completed(identity, None, message.partition(), message.offset())
            else:
                self._completed(identity, UNKNOWN, code=error.code())

        try:
            self.producer.produce(
                topic, payload, partition=-1 if partition is None else partition, on_delivery=on_delivery
            )
        except confluent_kafka.KafkaException as failure:
            self._refused(identity, failure.args[0].code(), failure.args[0].fatal())
        else:
            self.accepted += 1

    def close(self):
        self.producer.flush(90)
        self._done.set()
        self._poller.join(10)


def open_sender(ledger, bootstrap_servers, **properties):
    """The sender under test, with properties over EXACTLY_ONCE (underscores for dots)."""
    kind = ConfluentSender if os.environ.get("KAFKAPP_TEST_SENDER") == "confluent" else KafkappSender
    changes = {name.replace("_", "."): value for name, value in properties.items()}
    return kind(ledger, bootstrap_servers, EXACTLY_ONCE | changes)


class Load:
    """A context manager: while in the block a thread sends to the topics in turn, `rate` records a second.

    Args:
        partitions: the partitions to send to in turn; None leaves it to the partitioner.
    """

    def __init__(self, sender, *topics, partitions=None, rate=500, size=100, producer=0):
        self._sender, self._topics, self._partitions = sender, topics, partitions
        self._rate, self._size, self._producer = rate, size, producer
        self._stop = threading.Event()
        self._failure = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.sent = 0

    def _run(self):
        begin = time.monotonic()
        try:
            while not self._stop.wait(0.01):
                due = int((time.monotonic() - begin) * self._rate)
                while self.sent < due and not self._stop.is_set():
                    partition = self._partitions and self._partitions[self.sent % len(self._partitions)]
                    topic = self._topics[self.sent % len(self._topics)]
                    self._sender.send(topic, partition, self._producer, self._size)
                    self.sent += 1
        except Exception as failure:  # noqa: BLE001 - raised again in the test's thread
            self._failure = failure

    def __enter__(self):
        self._thread.start()
        self._sender.wait_delivered(20)
        return self

    def __exit__(self, *failure):
        self._stop.set()
        self._thread.join(90)
        if self._thread.is_alive():
            raise AssertionError("a send hangs: the load's thread did not come back in 90 s")
        if self._failure is not None and failure[0] is None:
            raise self._failure
