"""Reads records, writes them in capitals, exactly once: python exactly_once.py -b localhost:9092 words shouted one

`one` names this instance: several with different names share the partitions. Kill any at any moment, and start it again
under its name: what `read_committed` shows is each record once. Ends on Ctrl-C, on SIGTERM, and with --idle. Needs
confluent-kafka, whose consumer it has.
"""

import signal
import sys
import time

import click
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from kafkapp import KafkaAsyncProducer, KafkaException

GROUP = "shouting"


def transform(message):
    return (message.value() or b"").upper()


def rewind(consumer):
    """Back to what the group has committed: an aborted transaction's records are read again."""
    for place in consumer.committed(consumer.assignment(), timeout=30):
        start = place.offset if place.offset >= 0 else OFFSET_BEGINNING
        consumer.seek(TopicPartition(place.topic, place.partition, start))


def copy(consumer, producer, messages, target):
    """One transaction: the results of some records, and the group's progress over them."""
    with producer.transaction():        # commits; aborts when anything in it raises
        ends = {}
        for message in messages:
            producer.send(target, transform(message), key=message.key())
            ends[message.topic(), message.partition()] = message.offset() + 1
        # The group's metadata fences: if a rebalance has passed by this consumer, the broker refuses.
        producer.send_offsets_to_transaction(ends, consumer.consumer_group_metadata(), timeout=30)


@click.command()
@click.option("-b", "--bootstrap-servers", required=True, help="host:port,...")
@click.option("--idle", type=float, help="Ends after so many seconds without a record.")
@click.argument("source")
@click.argument("target")
@click.argument("name")
def main(bootstrap_servers, idle, source, target, name):
    # SystemExit at SIGTERM: the `with` blocks abort what is open and close.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    consumer = Consumer({
        "bootstrap.servers": bootstrap_servers,
        "group.id": GROUP,
        "group.instance.id": name,              # a restart takes its partitions back without a rebalance
        "session.timeout.ms": 6000,
        "enable.auto.commit": False,            # the transactions commit
        "isolation.level": "read_committed",    # what came from transactions itself is read once
        "auto.offset.reset": "earliest",
    })
    # The id of a transaction's producer is this instance's: its next start ends what this one leaves open.
    properties = {"bootstrap.servers": bootstrap_servers, "transactional.id": f"{GROUP}-{name}", "linger.ms": 5,
                  "transaction.timeout.ms": 10_000, "message.timeout.ms": 10_000}
    try:
        with KafkaAsyncProducer(properties) as producer:
            producer.init_transactions(timeout=60)
            consumer.subscribe([source])
            last = time.monotonic()
            while idle is None or time.monotonic() - last < idle:
                messages = [message for message in consumer.consume(500, timeout=0.2) if message.error() is None]
                if not messages:
                    continue
                last = time.monotonic()
                try:
                    copy(consumer, producer, messages, target)
                except KafkaException as exc:
                    if not (exc.error.transaction_requires_abort or exc.error.is_retriable):
                        # Fatal: another instance has this name now, or the transaction took too long.
                        sys.exit(f"cannot go on, start again: {exc}")
                    click.echo(f"aborted, once more: {exc}", err=True)
                    rewind(consumer)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
