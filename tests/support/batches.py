"""Helpers for tests of batches: producers of each kind, their ledgers, and the values that a topic holds."""

from contextlib import contextmanager

from readback import read_messages

from kafkapp import ErrorCode, EventsPollingOption, KafkaAsyncProducer, KafkaSyncProducer

KINDS = ("auto", "manual", "sync")
NOBODY = "127.0.0.1:1"  # where no broker listens: what is accepted stays in flight
IN_PROGRESS = ErrorCode.RD_KAFKA_RESP_ERR__IN_PROGRESS
QUEUE_FULL = ErrorCode.RD_KAFKA_RESP_ERR__QUEUE_FULL


def new_producer(kind, servers=NOBODY, **properties):
    properties = {
        "bootstrap.servers": servers,
        "log_cb": lambda *record: None,
        "error_cb": lambda error: None,
        **{name.replace("_", "."): value for name, value in properties.items() if "." not in name},
        **{name: value for name, value in properties.items() if "." in name},
    }
    if kind == "sync":
        return KafkaSyncProducer(properties)
    return KafkaAsyncProducer(properties, EventsPollingOption.Auto if kind == "auto" else EventsPollingOption.Manual)


@contextmanager
def offline(kind, **properties):
    """A producer that delivers nothing, closed without waiting for it."""
    producer = new_producer(kind, **properties)
    try:
        yield producer
    finally:
        producer.close(0)
    assert balanced(producer)


def balanced(producer):
    """Nothing is held for any record, and none is outstanding."""
    ledger = producer._ledger()
    return len(producer) == 0 and not any(ledger[name] for name in ("states", "buffers", "outstanding"))


def sent_values(servers, topic, partition=None):
    """The values that the topic holds, in the order of partitions and offsets."""
    return [m.value() for m in read_messages(servers, topic) if partition in (None, m.partition())]


class Calls(list):
    """A batch's callback that keeps what it was called with."""

    def __call__(self, batch):
        assert batch.done
        self.append(batch)
