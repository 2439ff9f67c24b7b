"""Lines of a file, worked on by processes that send the result: python worker_pools.py -b localhost:9092 -t sums FILE

Each process has a producer of its own, made when it is first used. A task returns when its records have outcomes, so
that the program knows what was delivered, whatever becomes of the processes. --method: fork, spawn or forkserver.
"""

import hashlib
import multiprocessing
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import islice, repeat

import click
from sending import console, options

from kafkapp import KafkaAsyncProducer, KafkaException

CHUNK = 1_000


@cache
def producer_with(properties):
    """The producer of this process, which closes it when it ends."""
    return KafkaAsyncProducer(dict(properties))


def work(properties, topic, lines):
    """Runs in a process of the pool. Returns how many records were delivered, and why others were not."""
    digests = [hashlib.sha256(line).hexdigest() for line in lines]
    batch = producer_with(properties).send_batch(topic, digests, keys=lines)
    batch.wait()
    reasons = Counter(error.message for _, error in batch.failures())
    return len(batch) - reasons.total(), reasons


def chunks_of(file):
    while chunk := [line.rstrip(b"\r\n") for line in islice(file, CHUNK)]:
        yield chunk


@click.command()
@options
@click.option("--method", type=click.Choice(multiprocessing.get_all_start_methods()), help="How processes are started.")
@click.option("--workers", type=click.IntRange(1), help="How many. Default: one for each processor.")
def main(bootstrap_servers, topic, properties, file, method, workers):
    pairs = (("bootstrap.servers", bootstrap_servers), *(tuple(pair.split("=", 1)) for pair in properties))
    delivered, failed = 0, Counter()
    with open(file, "rb") as lines, ProcessPoolExecutor(workers, multiprocessing.get_context(method)) as pool:
        try:
            for count, reasons in pool.map(work, repeat(pairs), repeat(topic), chunks_of(lines)):
                delivered += count
                failed += reasons
        except (KafkaException, ValueError) as exc:
            pool.shutdown(cancel_futures=True)
            console.print(f"cannot create a producer: {exc}", style="red")
            sys.exit(2)
    console.print(f"{delivered} records delivered to {topic}")
    for reason, count in failed.items():
        console.print(f"{count} not sent: {reason}", style="red")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
