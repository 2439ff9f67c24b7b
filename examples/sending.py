"""Helpers of the examples: options, a producer with a progress bar, and an exit status that shows failures.

0: all was delivered; 1: some rows were not; 2: nothing could be sent; 130: Ctrl-C.
"""

import sys
from collections import Counter

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from kafkapp import KafkaAsyncProducer, KafkaException

console = Console(stderr=True)


def options(command):
    """The options that every example has."""
    for option in (
        click.option("-b", "--bootstrap-servers", required=True, help="host:port,..."),
        click.option("-t", "--topic", required=True),
        click.option("-X", "--property", "properties", multiple=True, metavar="NAME=VALUE", help="Of the producer."),
        click.argument("file", type=click.Path(exists=True, dir_okay=False)),
    ):
        command = option(command)
    return command


class Sender:
    """Sends batches and counts the outcomes of their records. Its `with` block exits the program on failure."""

    def __init__(self, bootstrap_servers, topic, properties=(), total=None):
        self.topic, self.delivered, self.failed = topic, 0, Counter()
        self.progress = Progress(
            TextColumn(topic), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self.task = self.progress.add_task(topic, total=total)
        try:
            pairs = dict(pair.split("=", 1) for pair in properties)
            self.producer = KafkaAsyncProducer({"bootstrap.servers": bootstrap_servers, "linger.ms": 50, **pairs})
        except (KafkaException, ValueError) as exc:
            console.print(f"cannot create a producer: {exc}", style="red")
            sys.exit(2)

    def send(self, values, **columns):
        """Send a batch. Blocks while the queue is full, so that a file may be larger than memory."""
        batch = self.producer.send_batch(self.topic, values, callback=self.reported, **columns)
        if batch.accepted == 0:
            self.reported(batch)  # all were refused: without delivery reports there is no callback

    def reported(self, batch):
        """Runs on the producer's thread, once for each batch, when all its records are reported."""
        failures = batch.failures()
        self.failed.update(error.message for _, error in failures)
        self.delivered += len(batch) - len(failures)
        self.progress.advance(self.task, len(batch))

    def refuse(self, reason):
        """Count a row that cannot be sent."""
        self.failed[reason] += 1
        self.progress.advance(self.task)

    def __enter__(self):
        self.progress.start()
        return self

    def __exit__(self, kind, exc, traceback):
        interrupted = isinstance(exc, KeyboardInterrupt)
        try:
            self.producer.close(5 if interrupted else None)  # then every record has its outcome
        except KeyboardInterrupt:
            interrupted = True
            self.producer.close(0)
        self.progress.stop()
        console.print(f"{self.delivered} records delivered to {self.topic}")
        for reason, count in self.failed.items():
            console.print(f"{count} not sent: {reason}", style="red")
        if interrupted:
            sys.exit(130)
        if isinstance(exc, Exception):
            console.print(f"stopped: {exc}", style="red")
            sys.exit(1)
        if exc is None and self.failed:
            sys.exit(1)
