"""confluent-kafka's names over kafkapp, as far as its tests of producers go: an adapter for the judge, not a product.

It translates calls, and decides nothing. What their client does and kafkapp does not is left to fail.
"""
from collections import deque, namedtuple

import kafkapp

TIMESTAMP_NOT_AVAILABLE, TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME = 0, 1, 2
OFFSET_BEGINNING, OFFSET_END, OFFSET_STORED, OFFSET_INVALID = -2, -1, -1000, -1001
NOWHERE = "127.0.0.1:1"     # their client goes without brokers, as most of these tests do; kafkapp requires some

__version__ = kafkapp.__version__


def as_number(version):
    """0x020f0100 of 2.15.1."""
    parts = [int(part) for part in version.split("-")[0].split(".")]
    return parts[0] << 24 | parts[1] << 16 | parts[2] << 8


def version():
    return __version__, as_number(__version__)


def libversion():
    return kafkapp.librdkafka_version(), as_number(kafkapp.librdkafka_version())


TopicPartition = namedtuple("TopicPartition", "topic partition offset", defaults=(-1, OFFSET_INVALID))


class KafkaException(Exception):
    """args[0] is a KafkaError."""


class KafkaError(KafkaException):
    """A kafkapp.Error under methods; an exception too, as theirs, whose argument is itself."""

    def __init__(self, error, reason=None, fatal=False, retriable=False, txn_requires_abort=False):
        self.error = error if isinstance(error, kafkapp.Error) else kafkapp.Error(
            error, reason, is_fatal=fatal, is_retriable=retriable, transaction_requires_abort=txn_requires_abort)
        super().__init__(self)

    def code(self):
        return self.error.code

    def name(self):
        return self.error.code.name

    def str(self):
        return self.error.message

    def fatal(self):
        return self.error.is_fatal

    def retriable(self):
        return bool(self.error.is_retriable)

    def txn_requires_abort(self):
        return self.error.transaction_requires_abort

    def __eq__(self, other):
        return self.code() == (other.code() if isinstance(other, KafkaError) else other)

    __hash__ = KafkaException.__hash__
    __str__ = __repr__ = lambda self: f"KafkaError({self.error})"


for code in kafkapp.ErrorCode:
    setattr(KafkaError, code.name.removeprefix("RD_KAFKA_RESP_ERR_"), code)


def translated(call, *arguments, **named):
    """The answer of a call, or their exception; theirs for a full queue is a BufferError, as kafkapp's is."""
    try:
        return call(*arguments, **named)
    except kafkapp.KafkaBufferError:
        raise
    except kafkapp.KafkaException as exc:
        raise KafkaException(KafkaError(exc.error)) from exc


class Producer:
    def __init__(self, *confs, logger=None, **conf):
        if not confs and not conf:
            raise TypeError("expected configuration dict")
        conf = {**(confs[0] if confs else {}), **conf}
        conf |= conf.pop("default.topic.config", {})
        logger = conf.pop("logger", logger)
        self.raised = deque()       # by callbacks: theirs come out of the call that runs them, kafkapp's do not
        for name in ("error_cb", "stats_cb"):
            if name in conf:
                conf[name] = self.guarded(conf[name])
        if logger is not None:
            conf["log_cb"] = lambda level, facility, message: logger.log(
                max(10, 50 - 10 * max(level - 2, 0)), "%s: %s", facility, message)
        conf = {"bootstrap.servers": NOWHERE} | {name: value for name, value in conf.items() if value is not None}
        self.producer = translated(kafkapp.KafkaAsyncProducer, conf, kafkapp.EventsPollingOption.Manual)

    def guarded(self, callback):
        def call(argument, *more):
            try:
                callback(KafkaError(argument) if isinstance(argument, kafkapp.Error) else argument, *more)
            except BaseException as exc:
                self.raised.append(exc)

        return call

    def raise_what_callbacks_raised(self):
        if self.raised:
            raise self.raised.popleft()

    def produce(self, topic, value=None, key=None, partition=-1, on_delivery=None, timestamp=0, headers=None, callback=None):
        on_delivery = on_delivery or callback
        report = self.guarded(on_delivery) if on_delivery else None
        translated(self.producer.send, topic, value, key=key, partition=None if partition < 0 else partition,
                   headers=headers, timestamp=timestamp or None,
                   callback=report and (lambda metadata, error: report(error, metadata)))

    def poll(self, timeout=-1):
        served = self.producer.poll_events(None if timeout < 0 else timeout)
        self.raise_what_callbacks_raised()
        return served

    def flush(self, timeout=-1):
        try:
            self.producer.flush(None if timeout < 0 else timeout)
        except kafkapp.KafkaTimeoutError:
            pass
        self.raise_what_callbacks_raised()
        return len(self)

    def __len__(self):
        return len(self.producer)

    def list_topics(self, topic=None, timeout=-1):
        timeout = None if timeout < 0 else timeout
        if topic is None:
            return translated(self.producer.list_topics, timeout)
        return translated(self.producer.fetch_broker_metadata, topic, timeout)

    def init_transactions(self, timeout=-1):
        translated(self.producer.init_transactions, None if timeout < 0 else timeout)

    def begin_transaction(self):
        translated(self.producer.begin_transaction)

    def send_offsets_to_transaction(self, offsets, group, timeout=-1):
        translated(self.producer.send_offsets_to_transaction, offsets, group, None if timeout < 0 else timeout)

    def commit_transaction(self, timeout=-1):
        translated(self.producer.commit_transaction, None if timeout < 0 else timeout)

    def abort_transaction(self, timeout=-1):
        translated(self.producer.abort_transaction, None if timeout < 0 else timeout)


class Consumer:
    def __init__(self, *confs, **conf):
        raise NotImplementedError("kafkapp has no consumer")
