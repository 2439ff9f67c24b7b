"""The three producers behind one face, and a Ctrl-C that loses no count. Layer L5, for the command line only.

An outlet sends one record, drains what is under way and closes. Knows nothing of files, counting or output.
"""
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kafkapp import (
    BrokerMetadata,
    Error,
    ErrorCode,
    EventsPollingOption,
    KafkaAsyncProducer,
    KafkaException,
    KafkaSyncProducer,
    ProducerRecord,
    SendOption,
)

SLICE = 0.1  # seconds between two looks for Ctrl-C where our own thread serves the reports
TURNS_PER_POLL = 500  # records sent between two polls

Report = Callable[[Any, Error | None], None]


class Interrupts:
    """SIGINT and SIGTERM raise KeyboardInterrupt, but for stretches in which a count would be lost."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._held = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take the signals while the context lasts; one that the parent process has us ignore stays ignored."""
        numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
        before = [(number, signal.signal(number, self._handle)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Put a signal off to the end of the context."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.signal is not None:
            raise KeyboardInterrupt

    def hold(self) -> None:
        """Signals are only noted from here on: the command is ending anyway, within a bound."""
        self._held = True

    def _handle(self, number: int, frame: object) -> None:
        self.signal = self.signal or number
        if not self._held:
            raise KeyboardInterrupt


class AsyncOutlet:
    """The asynchronous producer: callbacks come on its own thread, a full queue blocks."""

    unreported = 0

    def __init__(self, properties: dict[str, Any], interrupts: Interrupts) -> None:
        self.producer = KafkaAsyncProducer(properties)
        self.send: Callable[[ProducerRecord, Report, SendOption], object] = self.producer.send

    def metadata(self, topic: str, timeout: float) -> BrokerMetadata:
        return self.producer.fetch_broker_metadata(topic, timeout)

    def drain(self) -> None:
        """Block until every record has its outcome; `message.timeout.ms` bounds that."""
        self.producer.flush()

    def close(self, timeout: float | None = None) -> None:
        self.producer.close(timeout)


class ManualOutlet:
    """The asynchronous producer with manual polling: callbacks come on this thread, between two sends."""

    unreported = 0

    def __init__(self, properties: dict[str, Any], interrupts: Interrupts) -> None:
        self.producer = KafkaAsyncProducer(properties, EventsPollingOption.Manual)
        self._held = interrupts.held  # an exception out of a callback would lose its count
        self._turns = TURNS_PER_POLL

    def send(self, record: ProducerRecord, report: Report, option: SendOption) -> None:
        self._turns -= 1
        if self._turns == 0:
            self._poll(0)
        while error := self.producer.try_send(record, report, option):
            if error.code != ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL:
                raise KafkaException(error)
            self._poll(SLICE)

    def _poll(self, timeout: float) -> None:
        with self._held():
            self.producer.poll_events(timeout)
        self._turns = TURNS_PER_POLL

    def metadata(self, topic: str, timeout: float) -> BrokerMetadata:
        return self.producer.fetch_broker_metadata(topic, timeout)

    def drain(self) -> None:
        """Block until every record has its outcome; flush and not poll, for it does not wait for `linger.ms`."""
        while len(self.producer):
            with self._held():
                try:
                    self.producer.flush(SLICE)
                except KafkaException as failure:
                    if failure.error.code != ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT:
                        raise

    def close(self, timeout: float | None = None) -> None:
        self.producer.close(timeout)


class SyncOutlet:
    """The synchronous producer: each record waits for its report."""

    def __init__(self, properties: dict[str, Any], interrupts: Interrupts) -> None:
        self.producer = KafkaSyncProducer(properties)
        self._held = interrupts.held
        self.unreported = 0  # 1 while a record is under way: left so when Ctrl-C cuts the wait short

    def send(self, record: ProducerRecord, report: Report, option: SendOption) -> None:
        self.unreported = 1
        try:
            metadata = self.producer.send(record)
        except KafkaException:
            self.unreported = 0
            raise
        with self._held():
            self.unreported = 0
            report(metadata, None)

    def metadata(self, topic: str, timeout: float) -> BrokerMetadata:
        return self.producer.fetch_broker_metadata(topic, timeout)

    def drain(self) -> None:
        """Nothing is ever under way here."""

    def close(self, timeout: float | None = None) -> None:
        self.producer.close(timeout)


Outlet = AsyncOutlet | ManualOutlet | SyncOutlet
OUTLETS: dict[str, type[AsyncOutlet] | type[ManualOutlet] | type[SyncOutlet]] = {
    "async": AsyncOutlet, "manual": ManualOutlet, "sync": SyncOutlet}
