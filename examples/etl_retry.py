"""Rows of a table, those that failed sent again: python etl_retry.py -b localhost:9092 -t rows --key id rows.parquet

What may succeed later is sent again, in the order of the rows, after a pause that doubles. What remains goes into a
file beside the input, rows.rejects.ndjson, with its error. Exit status: as that of the other examples.
"""

import sys
import time
from collections import Counter
from pathlib import Path

import click
import polars as pl
from sending import console, options

from kafkapp import ErrorCode, KafkaAsyncProducer, KafkaException

CHUNK = 65_536
READERS = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".ndjson": pl.read_ndjson}
# Never delivered, however often they are sent: docs/guide/errors.md has a table of the codes.
HOPELESS = {
    ErrorCode.MSG_SIZE_TOO_LARGE,
    ErrorCode.INVALID_MSG,
    ErrorCode.INVALID_RECORD,
    ErrorCode.RECORD_LIST_TOO_LARGE,
    ErrorCode.POLICY_VIOLATION,
    ErrorCode._UNKNOWN_PARTITION,
}


def deliver(producer, topic, rows, key, rounds, pause):
    """Send the rows until all are delivered or hopeless, or the rounds are over. Returns a table of the others."""
    rejects = []
    for number in range(rounds):
        if number:
            time.sleep(pause * 2 ** (number - 1))
        documents = rows.select(pl.struct(pl.all()).struct.json_encode()).to_series()
        batch = producer.send_batch(topic, documents, keys=None if key is None else rows[key].cast(pl.String))
        batch.wait()
        again = []
        for index, error in batch.failures():
            if number == rounds - 1 or error.is_fatal or error.code in HOPELESS:
                rejects.append(rows[index].with_columns(error=pl.lit(error.message)))
            else:
                again.append(index)
        if not again:
            break
        console.print(f"{len(again)} of {len(rows)} rows failed, and are sent again")
        rows = rows[again]
    return pl.concat(rejects) if rejects else None


@click.command()
@options
@click.option("--key", help="The column that is the key.")
@click.option("--rounds", default=5, show_default=True, help="How often a row is sent at most.")
@click.option("--pause", default=1.0, show_default=True, help="Seconds before the second round; then twice as many.")
def main(bootstrap_servers, topic, properties, file, key, rounds, pause):
    read = READERS.get(Path(file).suffix)
    if read is None:
        raise click.UsageError(f"{file} must end in {', '.join(READERS)}")
    frame = read(file)
    if key is not None and key not in frame.columns:
        raise click.UsageError(f"{file} has no column {key!r}, only {', '.join(frame.columns)}")
    pairs = dict(pair.split("=", 1) for pair in properties)
    try:
        producer = KafkaAsyncProducer({"bootstrap.servers": bootstrap_servers, **pairs})
    except (KafkaException, ValueError) as exc:
        console.print(f"cannot create a producer: {exc}", style="red")
        sys.exit(2)
    with producer:
        chunks = [deliver(producer, topic, rows, key, rounds, pause) for rows in frame.iter_slices(CHUNK)]
    rejects = [chunk for chunk in chunks if chunk is not None]
    failed = sum(map(len, rejects))
    console.print(f"{len(frame) - failed} records delivered to {topic}")
    if rejects:
        target = Path(file).with_suffix(".rejects.ndjson")
        table = pl.concat(rejects)
        table.write_ndjson(target)
        for reason, count in Counter(table["error"]).most_common(10):
            console.print(f"{count} not sent: {reason}", style="red")
        console.print(f"they are in {target}", style="red")
        sys.exit(1)


if __name__ == "__main__":
    main()
