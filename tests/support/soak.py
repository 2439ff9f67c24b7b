"""The soak: hours of records at a rate, a random fault every ten seconds, and each record accounted for (F54).

    python tests/support/soak.py --hours 8 --rate 5000 --figures soak.json      # --kafka: three real nodes instead
    python tests/support/soak.py --hours 1 --kafka --transactions               # all records in transactions

Log and reports are compared in rounds, so that hours fit into memory; the log is read by another client.
"""
import argparse
import collections
import gc
import json
import math
import random
import sys
import threading
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from faultkit import QUIET, descriptors, environment, native_threads, percentiles, rss, slope, trim
from anomalies import ABORTED, COMMITTED, OPEN
from ledger import NOT_PERSISTED, UNKNOWN, Ledger, LogRecord, Verdict
from soak_faults import PARTITIONS, Embedded, Real

from kafkapp import ErrorCode, KafkaAsyncProducer, KafkaException, PersistedStatus, ProducerRecord

PROPERTIES = {"enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 5000, "socket.timeout.ms": 1000,
              "retry.backoff.ms": 20, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200,
              "queue.buffering.max.messages": 10_000, "topic.metadata.refresh.interval.ms": 1000}
FENCE = b"soak-fence"


class Reader:
    """Reads the topic all the while, in a thread: confluent-kafka, with checksums."""

    def __init__(self, world):
        made = {"bootstrap.servers": world.bootstrap_servers, "log_level": 0}
        self.topic = world.topic
        self.fences = Producer(made | {"acks": "all"})
        self.consumer = Consumer(made | {"group.id": "soak", "check.crcs": True, "enable.auto.commit": False,
                                         "auto.offset.reset": "error", "isolation.level": "read_committed", "fetch.wait.max.ms": 50, "queued.max.messages.kbytes": 4096,
                                         "topic.metadata.refresh.interval.ms": 1000, "reconnect.backoff.max.ms": 200})
        self.consumer.assign([TopicPartition(self.topic, partition, 0) for partition in range(PARTITIONS)])
        self.changed = threading.Condition()
        self.found, self.seen, self.stop, self.failure, self.poll = [], {}, False, None, 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop:
            self.poll += 1
            for message in self.consumer.consume(1000, timeout=0.1):
                if message.error() is None:
                    self.seen[message.partition()] = message.offset()
                    if message.key() != FENCE:
                        self.found.append(LogRecord(message.partition(), message.offset(), message.value(), poll=self.poll))
                elif message.error().code() == -140:        # _AUTO_OFFSET_RESET: the cluster has dropped what we had not read
                    self.failure = str(message.error())
            with self.changed:
                self.changed.notify_all()

    def read(self, timeout=60):
        """All records in the log since the last call: up to fences that are written now."""
        ends = {}
        for partition in range(PARTITIONS):
            self.fences.produce(self.topic, b"", FENCE, partition, on_delivery=lambda error, message:
                                error or ends.__setitem__(message.partition(), message.offset()))
        left = self.fences.flush(timeout)
        if left or len(ends) < PARTITIONS:
            raise AssertionError(f"only {len(ends)} fences of {PARTITIONS} could be written in {timeout} s")
        with self.changed:
            there = self.changed.wait_for(lambda: self.failure or all(self.seen.get(p, -1) >= end for p, end in ends.items()),
                                          timeout)
        if self.failure or not there:
            raise AssertionError(f"the log was not read to its end in {timeout} s: {self.failure}")
        found, self.found = self.found, []
        return found

    def close(self):
        self.stop = True
        self.thread.join(10)
        self.consumer.close()


class Sending:
    """Sends at a rate, in a thread, until it is stopped; one in ten does not wait for room."""

    def __init__(self, producer, topic, rate, dice, plant=None):
        self.producer, self.topic, self.rate, self.dice, self.plant = producer, topic, rate, dice, plant
        self.lock = threading.Lock()
        self.codes = collections.Counter()      # name or None -> how many reports
        self.refused = collections.Counter()    # name -> how many sends
        self.accepted = 0
        self.last_delivered = 0.0               # when the newest of those that arrived was sent

    def start(self, ledger):
        self.ledger, self.stop, self.failure = ledger, threading.Event(), None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def end(self):
        self.stop.set()
        self.thread.join(70)
        if self.thread.is_alive() or self.failure:
            raise self.failure or AssertionError("a send hangs: more than 70 s")

    def run(self):
        last = time.monotonic()
        credit = 0.0
        try:
            while not self.stop.wait(0.005):
                now = time.monotonic()
                credit = min(credit + (now - last) * self.rate, self.rate)     # what a fault held up comes later, within bounds
                last = now
                while credit >= 1 and not self.stop.is_set():
                    credit -= 1
                    self.send()
        except BaseException as failure:
            self.failure = failure

    def reporter(self, identity):
        ledger, sent = self.ledger, time.monotonic()

        def callback(metadata, error):
            if error is None:
                ledger.delivered(identity, metadata.partition, metadata.offset)
                self.last_delivered = max(self.last_delivered, sent)
            else:
                ledger.report(identity, NOT_PERSISTED if metadata.persisted_status is PersistedStatus.Not else UNKNOWN)
            with self.lock:
                self.codes[error and error.code.name] += 1

        return callback

    def send(self):
        identity, payload = self.ledger.stamp(size=60 + self.dice.randrange(120))
        if self.plant and identity[1] == 1000:
            if self.plant == "lost":
                self.ledger.delivered(identity)
            self.plant = None
            return
        callback = self.reporter(identity)
        record = ProducerRecord(self.topic, identity[1] % PARTITIONS, value=bytearray(payload))
        error = None
        if identity[1] % 10 == 0:
            error = self.producer.try_send(record, callback)
        else:
            try:
                self.producer.send(record, callback, timeout=60)
            except KafkaException as failure:
                error = failure.error
        if error is None:
            self.accepted += 1
        else:
            self.ledger.refused(identity)
            self.refused[error.code.name] += 1
            if error.is_fatal or error.code == ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT:
                raise AssertionError(f"no send is accepted any more: {error}")


class Transacting(Sending):
    """Sends in transactions, of which some are aborted; a producer that has failed for good has a successor of the same id."""

    def __init__(self, open_producer, *arguments):
        super().__init__(open_producer(), *arguments)
        self.open_producer = open_producer
        self.number = 0
        self.ends = collections.Counter()

    def run(self):
        try:
            while not self.stop.is_set():
                self.number += 1
                size = self.dice.randint(1, 200)
                try:
                    end = self.transact(self.number, size)
                except KafkaException as failure:
                    if not failure.error.is_fatal:
                        raise
                    end = OPEN      # how it ended was not reported
                    self.producer.close(10)
                    self.producer = self.open_producer()
                if end != OPEN:
                    self.ledger.ended(self.number, end)
                self.ends[end] += 1
                self.stop.wait(size / self.rate)
        except BaseException as failure:
            self.failure = failure

    def transact(self, name, size):
        self.producer.begin_transaction()
        for _ in range(size):
            if not self.send_in(name):
                return self.abort()
        if self.dice.random() < 0.2:
            return self.abort()
        while True:
            try:
                self.producer.commit_transaction(60)
                return COMMITTED
            except KafkaException as failure:
                if failure.error.transaction_requires_abort:
                    return self.abort()
                if not failure.error.is_retriable:
                    raise

    def abort(self):
        while True:
            try:
                self.producer.abort_transaction(60)
                return ABORTED
            except KafkaException as failure:
                if not failure.error.is_retriable:
                    raise

    def send_in(self, transaction):
        identity, payload = self.ledger.stamp(size=60 + self.dice.randrange(120), transaction=transaction)
        record = ProducerRecord(self.topic, identity[1] % PARTITIONS, value=bytearray(payload))
        try:
            self.producer.send(record, self.reporter(identity), timeout=60)
        except KafkaException as failure:
            self.ledger.refused(identity)
            self.refused[failure.error.code.name] += 1
            return False
        self.accepted += 1
        return True


def arrived(sending, since, bound=60):
    """Seconds from `since` until a record that was sent after it has arrived."""
    while sending.last_delivered < since:
        if time.monotonic() > since + bound or sending.failure:
            raise sending.failure or AssertionError(f"nothing arrives {bound} s after the fault was over")
        time.sleep(0.005)
    return time.monotonic() - since


class Soak:
    """The run; `figures` is what it counted so far."""

    def __init__(self, options, world):
        self.options, self.world = options, world
        self.dice = random.Random(options.seed)
        self.injected, self.recoveries = collections.Counter(), collections.defaultdict(list)
        self.totals = collections.Counter()
        self.memory = []        # (millions of records accepted, bytes)
        self.begin = time.monotonic()

    def run(self):
        before = native_threads(), descriptors()
        self.reader = Reader(self.world)
        properties = PROPERTIES | QUIET | self.world.properties | {"bootstrap.servers": self.world.bootstrap_servers}
        how = self.world.topic, self.options.rate, random.Random(self.options.seed + 1)
        if self.options.transactions:
            self.sending = Transacting(lambda: self.open_transactional(properties), *how)
        else:
            self.sending = Sending(KafkaAsyncProducer(properties), *how, self.options.plant)
        end = self.begin + self.options.hours * 3600
        while time.monotonic() < end:
            self.round(end)
            if not self.options.quiet:
                print(self.line(), file=sys.stderr, flush=True)
        self.closing = time.monotonic()
        self.sending.producer.close(30)
        self.closing = time.monotonic() - self.closing
        self.reader.close()
        del self.sending.producer, self.reader
        gc.collect()
        end = time.monotonic() + 10         # the proxies close their ends of what the clients have closed
        while descriptors() > before[1] and time.monotonic() < end:
            time.sleep(0.1)
        self.left = [max(0, now - then) for now, then in zip((native_threads(), descriptors()), before, strict=True)]

    def open_transactional(self, properties):
        producer = KafkaAsyncProducer(properties | {"transactional.id": "soak", "transaction.timeout.ms": 20_000})
        while True:
            try:
                producer.init_transactions(60)
                return producer
            except KafkaException as failure:
                if not failure.error.is_retriable:
                    raise

    def round(self, end):
        """A few faults, then all reports are compared with the log."""
        ledger = Ledger()
        self.sending.start(ledger)
        faults = self.world.faults()
        round_end = min(end, time.monotonic() + self.options.round)
        arrived(self.sending, time.monotonic())
        while time.monotonic() < round_end:
            name = self.dice.choice([*faults, "F21 a purge"])
            start = time.monotonic()
            self.sending.producer.purge() if name not in faults else faults[name](self.dice)
            self.recoveries[name].append(arrived(self.sending, time.monotonic()))
            self.injected[name] += 1
            self.sending.stop.wait(max(0, min(round_end, start + self.options.every) - time.monotonic()))
        self.world.undo()
        arrived(self.sending, time.monotonic())
        self.sending.end()
        self.sending.producer.flush(60)
        verdict = ledger.verdict(self.reader.read())
        self.totals.update(sent=verdict.sent, delivered=verdict.delivered)
        self.totals.update({name: len(getattr(verdict, name)) for name in verdict.FAULTS})
        if verdict.faults().keys() - self.world.allowed:
            print(verdict, file=sys.stderr, flush=True)
        del ledger, verdict, self.sending.ledger
        trim()
        self.memory.append((self.sending.accepted / 1e6, rss()))

    def faults(self):
        """The counts that must be zero and are not."""
        wrong = {name for name in Verdict.FAULTS if self.totals[name]} - self.world.allowed
        return sorted(wrong | ({"threads or descriptors left"} if any(getattr(self, "left", [])) else set()))

    def line(self):
        return (f"{(time.monotonic() - self.begin) / 60:7.1f} min  {self.sending.accepted} accepted  {self.totals['delivered']} delivered  "
                f"{sum(self.injected.values())} faults  {self.memory[-1][1] >> 20} MiB  {self.faults() or 'no loss'}")

    def figures(self):
        tail = self.memory[len(self.memory) // 4:]
        gradient, error = slope(tail) if len(tail) > 3 else (math.nan, math.nan)
        accepted = self.sending.accepted
        return {
            "broker": self.world.broker, "hours": round((time.monotonic() - self.begin) / 3600, 3), "rate": self.options.rate,
            "faults": dict(sorted(self.injected.items())), "accepted": accepted, "refused": dict(self.sending.refused),
            "codes": {name or "delivered": count for name, count in self.sending.codes.items()},
            **{name: self.totals[name] for name in ("sent", "delivered", *Verdict.FAULTS)},
            **({"transactions": dict(self.sending.ends)} if self.options.transactions else {}),
            "bound": f"0 in {accepted}: below {3 / max(1, accepted):.1e}", "rounds": len(self.memory),
            "recovery_ms": {name: percentiles(times) for name, times in sorted(self.recoveries.items())},
            "rss_bytes_per_million": None if math.isnan(gradient) else [round(gradient), round(2 * error)],
            "threads_and_descriptors_left": self.left, "close_seconds": round(self.closing, 3), "wrong": self.faults(),
        }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=8)
    parser.add_argument("--rate", type=float, default=5000, help="records a second")
    parser.add_argument("--every", type=float, default=10, help="seconds from fault to fault")
    parser.add_argument("--round", type=float, default=30, help="seconds after which the log is compared")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--kafka", action="store_true", help="three nodes of Apache Kafka in place of the embedded cluster")
    parser.add_argument("--transactions", action="store_true", help="send in transactions, one in five of which is aborted")
    parser.add_argument("--figures", type=Path, help="a file for what was counted, as JSON")
    parser.add_argument("--plant", choices=("lost", "unreported"), help="a fault that has to be reported")
    parser.add_argument("--quiet", action="store_true", help="no line for each round")
    options = parser.parse_args(arguments)
    where = environment(options.seed)       # now: after hours the commit may be another one
    with (Real if options.kafka else Embedded)() as world:
        soak = Soak(options, world)
        soak.run()
    figures = soak.figures()
    if options.figures:
        options.figures.write_text(json.dumps(where | {"figures": {"soak": figures}}, indent=1))
    print(json.dumps(figures))
    return 1 if soak.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
