"""A topic to Parquet files: python topic_to_parquet.py -b localhost:9092 -t events -g archive --idle 5 FOLDER

Records come as Arrow columns: no row becomes a Python object. Each file is complete and has its name before the offsets
of its records are committed: after a crash they are read again, and no record is lost. A file is named after the first
offset in it of each partition, so that reading again writes the same file again, or a longer one.
"""

from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from kafkapp import KafkaConsumer

console = Console(stderr=True)


def write(folder, batches):
    """Write batches into one file of the folder."""
    table = pa.Table.from_batches([pa.record_batch(batch) for batch in batches])
    firsts = table.group_by("partition").aggregate([("offset", "min")]).sort_by("partition").to_pylist()
    name = "_".join(f"{first['partition']}-{first['offset_min']}" for first in firsts) + ".parquet"
    pq.write_table(table, folder / f".{name}", compression="zstd")
    (folder / f".{name}").rename(folder / name)
    return len(table)


@click.command()
@click.option("-b", "--bootstrap-servers", required=True, help="host:port,...")
@click.option("-t", "--topic", required=True)
@click.option("-g", "--group", required=True, help="Whose offsets are committed.")
@click.option("-n", "--records", default=100_000, show_default=True, help="Of a file, at least; the last has fewer.")
@click.option("--idle", type=float, help="End when nothing has come for so many seconds.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(bootstrap_servers, topic, group, records, idle, folder):
    folder.mkdir(parents=True, exist_ok=True)
    properties = {
        "bootstrap.servers": bootstrap_servers,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    written = 0
    with KafkaConsumer(properties) as consumer:
        consumer.subscribe([topic], timeout=30)
        batches = []
        while batch := consumer.poll_batch(idle):
            batches.append(batch)
            if sum(map(len, batches)) >= records:
                written += write(folder, batches)
                consumer.commit_sync()
                batches = []
        if batches:
            written += write(folder, batches)
            consumer.commit_sync()
    console.print(f"{written} records of {topic} written to {folder}")


if __name__ == "__main__":
    main()
