"""`kafkapp verifiable-producer`: in Kafka's own system tests it stands where Java's verifiable producer does.

Sends rising numbers, and prints each outcome as a JSON object on a line of standard output: what the brokers have
acknowledged, a reader of the topic must find. Its options and lines are those of Kafka's program.
"""
import json
import threading
import time
from collections.abc import Callable
from itertools import count, cycle, islice
from typing import Any

import click

from kafkapp import Error, KafkaAsyncProducer, KafkaException
from kafkapp.cli.options import parse_files
from kafkapp.cli.produce import Misuse
from kafkapp.cli.signals import Interrupts
from kafkapp.cli.streams import lost, say


def print_event(name: str, **facts: Any) -> None:
    say(json.dumps({"timestamp": int(time.time() * 1000), "name": name, **facts}, separators=(",", ":")))


class Run:
    """One run: what is sent, and what became of it."""

    def __init__(self, topic: str, throughput: int) -> None:
        self.topic, self.throughput = topic, throughput
        self.sent = self.acknowledged = 0
        self._begin = time.monotonic()

    def reporter(self, key: str | None, value: str) -> Callable[[Any, Error | None], None]:
        def report(metadata: Any, error: Error | None) -> None:
            if error is not None:
                self.failed(key, value, error)
                return
            self.acknowledged += 1
            print_event("producer_send_success", key=key, value=value, topic=metadata.topic,
                        partition=metadata.partition, offset=metadata.offset)
        return report

    def failed(self, key: str | None, value: str, error: Error) -> None:
        print_event("producer_send_error", key=key, value=value, topic=self.topic, exception=error.code.name,
                    message=error.message)

    def send(self, producer: KafkaAsyncProducer, key: str | None, value: str, timestamp: int | None) -> None:
        self.sent += 1
        try:
            producer.send(self.topic, value, key=key, timestamp=timestamp, callback=self.reporter(key, value))
        except KafkaException as exc:
            self.failed(key, value, exc.error)

    def wait(self) -> None:
        """Until the next record is due."""
        if self.throughput == 0:
            threading.Event().wait()    # a signal ends it
        elif self.throughput > 0:
            time.sleep(max(0.0, self._begin + self.sent / self.throughput - time.monotonic()))

    def print_summary(self) -> None:
        seconds = time.monotonic() - self._begin
        print_event("tool_data", sent=self.sent, acked=self.acknowledged, target_throughput=self.throughput,
                    avg_throughput=self.acknowledged / seconds if seconds else 0.0)


def close(producer: KafkaAsyncProducer) -> None:
    """Every outcome is printed when this returns; a second signal purges what no broker has acknowledged."""
    try:
        producer.close()
    except KeyboardInterrupt:
        producer.close(0)
        raise


@click.command("verifiable-producer")
@click.option("--topic", required=True, help="Send to this topic.")
@click.option("--bootstrap-server", required=True, metavar="HOST:PORT,...", help="Brokers to ask first.")
@click.option("--max-messages", type=int, default=-1, show_default=True, help="How many records; -1: until a signal.")
@click.option("--throughput", type=int, default=-1, show_default=True, help="Records a second; -1: as many as go.")
@click.option("--acks", type=click.Choice(["0", "1", "-1"]), default="-1", show_default=True,
              help="Whose acknowledgement counts: nobody's, the leader's, that of all replicas in sync.")
@click.option("--producer.config", "deprecated", metavar="FILE", multiple=True, callback=parse_files,
              help="As --command-config, which newer releases of Kafka have.")
@click.option("--command-config", "filed", metavar="FILE", multiple=True, callback=parse_files,
              help="Properties; they go above those of the other options.")
@click.option("--message-create-time", type=int, default=-1, metavar="MS",
              help="The first record's timestamp, in milliseconds since 1970; others come as much later.")
@click.option("--value-prefix", type=int, help="Values are this number, a dot, and the record's number.")
@click.option("--repeating-keys", type=click.IntRange(min=1), help="Keys are the numbers below this one, in turn.")
def command(topic: str, bootstrap_server: str, max_messages: int, throughput: int, acks: str,
            deprecated: dict[str, str], filed: dict[str, str], message_create_time: int, value_prefix: int | None,
            repeating_keys: int | None) -> int:
    """Send rising numbers, and print each outcome as JSON: the verifiable producer of Kafka's system tests.

    Records are sent once, as Kafka's program does it: a failed one is printed as such, unless FILE has `retries` or
    `enable.idempotence`. Ctrl-C and SIGTERM end it, when every outcome is printed.
    """
    if deprecated and filed:
        raise Misuse("--producer.config and --command-config exclude each other")
    files = {**deprecated, **filed}
    properties = {"bootstrap.servers": bootstrap_server, "acks": acks}
    if files.get("enable.idempotence", "false").lower() != "true":
        properties["retries"] = "0"
    interrupts = Interrupts()
    values = (str(number) if value_prefix is None else f"{value_prefix}.{number}" for number in count())
    keys = cycle([None]) if repeating_keys is None else cycle(map(str, range(repeating_keys)))
    with interrupts.watched():
        try:
            producer = KafkaAsyncProducer({**properties, **files})
        except (KafkaException, ValueError, TypeError) as exc:
            raise click.ClickException(str(exc)) from None
        run, start = Run(topic, throughput), time.time()
        try:
            print_event("startup_complete")
            for key, value in islice(zip(keys, values, strict=False), None if max_messages < 0 else max_messages):
                passed = int((time.time() - start) * 1000)
                run.send(producer, key, value, None if message_create_time < 0 else message_create_time + passed)
                if lost:
                    break       # nobody reads: the exit status says so
                run.wait()
        finally:
            try:
                close(producer)
            finally:
                print_event("shutdown_complete")
                run.print_summary()
    return 0
