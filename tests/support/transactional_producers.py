"""Transactional producers of all three kinds on the embedded cluster, behind one interface.

The embedded cluster keeps every record: it has the coordinator's answers, not its markers.
"""
import uuid
from contextlib import contextmanager

import pytest
from proxy import Front
from helpers import properties

import kafkapp
from kafkapp import Error, ErrorCode, EventsPollingOption, KafkaException, ProducerRecord

KINDS = ("auto", "manual", "sync")


def open_producer(kind, cluster, **more):
    made = properties(cluster, {"transactional.id": f"id-{uuid.uuid4().hex[:8]}", "linger.ms": 0, "log_cb": lambda *log: None},
                      **more)
    if kind == "sync":
        return kafkapp.KafkaSyncProducer(made)
    return kafkapp.KafkaAsyncProducer(made, EventsPollingOption.Auto if kind == "auto" else EventsPollingOption.Manual)


class Sent:
    """Records that were sent without waiting, by any of the three kinds, and the codes that were reported."""

    def __init__(self, producer, topic):
        self.producer, self.topic = producer, topic
        self.codes = []

    def send(self, value=b"v", partition=0):
        if isinstance(self.producer, kafkapp.KafkaSyncProducer):
            self.producer.send_batch(self.topic, [value], partition=partition, callback=self.on_batch, timeout=0)
        else:
            self.producer.send(ProducerRecord(self.topic, partition, value=value), self.on_report)

    def on_batch(self, batch):
        self.codes += [code or None for code in batch.errors]

    def on_report(self, metadata, error):
        self.codes.append(error and error.code)


def create_sources(cluster):
    """The topics whose offsets are committed: newer embedded clusters want them to be there."""
    cluster.create_topic("source")
    cluster.create_topic("source2", partitions=40)


def failing(call, *arguments):
    """The Error that a call raises."""
    with pytest.raises(KafkaException) as failure:
        call(*arguments)
    return failure.value.error


def kind_of(error):
    """One word for what the user has to do."""
    flags = [name for name, flag in (("retriable", error.is_retriable), ("abortable", error.transaction_requires_abort),
                                     ("fatal", error.is_fatal)) if flag]
    return " ".join(flags) or "none"


def err(name):
    return ErrorCode[f"RD_KAFKA_RESP_ERR_{name}"]


@contextmanager
def counted(kind, cluster):
    """A producer, and a function that returns how many requests of an API it has made: a proxy counts, for librdkafka 2.0.2
    cannot."""
    with Front(cluster.bootstrap_servers) as front, open_producer(kind, front) as producer:
        yield producer, lambda api: front.count("request", int(api))


AGAIN = Error(err("_CONFLICT"), is_retriable=True)
ABORT = Error(err("_INCONSISTENT"), transaction_requires_abort=True)
FATAL = Error(err("_FENCED"), is_fatal=True)
# What commits and aborts answer, in turn, the calls that a transaction's context makes then, and what it raises.
ENDS = pytest.mark.parametrize("commit, abort, calls, raised", [
    ([None], [], ["commit"], None),
    ([AGAIN, AGAIN, None], [], ["commit", "commit", "commit"], None),
    ([AGAIN, ABORT], [AGAIN, None], ["commit", "commit", "abort", "abort"], ABORT),
    ([FATAL], [], ["commit"], FATAL),
    ([Error(err("_STATE"))], [], ["commit"], Error(err("_STATE"))),
    ([ABORT], [FATAL], ["commit", "abort"], FATAL),
])
