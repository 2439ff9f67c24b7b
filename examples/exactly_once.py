"""Reads records, writes them in capitals, exactly once: python exactly_once.py -b localhost:9092 words shouted one

`one` names this instance: several with different names share the partitions. Kill any at any moment, and start it again
under its name: what `read_committed` shows is each record once. Ends on Ctrl-C, on SIGTERM, and with --idle.
"""

import signal
import sys
import time

import click

from kafkapp import ErrorCode, KafkaAsyncProducer, KafkaConsumer, KafkaException

GROUP = "shouting"


def transform(record):
    return bytes(record.value.data or b"").upper()


def copy(consumer, producer, records, target):
    """One transaction: the results of some records, and the group's progress over them."""
    with producer.transaction():        # commits; aborts when anything in it raises
        for record in records:
            producer.send(target, transform(record), key=record.key)
        # The group's metadata fences: if a rebalance has passed by this consumer, it or the broker refuses.
        producer.send_offsets_to_transaction(records.ends, consumer.group_metadata(), timeout=30)


def rewind(consumer, records):
    """Back to the first of the records in each partition: they are read again after an aborted transaction."""
    starts = {(record.topic, record.partition): record.offset for record in reversed(records)}
    for place, offset in starts.items():
        consumer.seek(place, offset)


def may_go_on(error):
    """Whether the records can be copied once more; if not, another instance has this name now, or took too long."""
    out_of_its_group = error.code == ErrorCode.RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID
    return error.transaction_requires_abort or error.is_retriable or out_of_its_group


@click.command()
@click.option("-b", "--bootstrap-servers", required=True, help="host:port,...")
@click.option("--idle", type=float, help="Ends after so many seconds without a record.")
@click.argument("source")
@click.argument("target")
@click.argument("name")
def main(bootstrap_servers, idle, source, target, name):
    # SystemExit at SIGTERM: the `with` blocks abort what is open and close.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    reading = {
        "bootstrap.servers": bootstrap_servers,
        "group.id": GROUP,
        "group.instance.id": name,              # a restart takes its partitions back without a rebalance
        "session.timeout.ms": 6000,
        "enable.auto.commit": False,            # the transactions commit
        "isolation.level": "read_committed",    # what came from transactions itself is read once
        "auto.offset.reset": "earliest",
    }
    # The id of a transaction's producer is this instance's: its next start ends what this one leaves open.
    writing = {"bootstrap.servers": bootstrap_servers, "transactional.id": f"{GROUP}-{name}", "linger.ms": 5,
               "transaction.timeout.ms": 10_000, "message.timeout.ms": 10_000}
    try:
        with KafkaConsumer(reading) as consumer, KafkaAsyncProducer(writing) as producer:
            producer.init_transactions(timeout=60)
            consumer.subscribe([source])
            last = time.monotonic()
            while idle is None or time.monotonic() - last < idle:
                records = consumer.poll(0.2)
                if not records:
                    continue
                last = time.monotonic()
                try:
                    copy(consumer, producer, records, target)
                except KafkaException as exc:
                    if not may_go_on(exc.error):
                        sys.exit(f"cannot go on, start again: {exc}")
                    click.echo(f"aborted, once more: {exc}", err=True)
                    rewind(consumer, records)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
