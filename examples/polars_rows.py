"""What polars makes of a file, as JSON documents to a topic: python polars_rows.py -b localhost:9092 -t rows rows.csv

--timestamp names a column of dates with times, which is the records' own. polars writes the JSON, librdkafka reads the
columns: no row becomes a Python object.
"""

from pathlib import Path

import click
import polars as pl
from sending import Sender, options

CHUNK = 65_536
READERS = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".ndjson": pl.read_ndjson}


@click.command()
@options
@click.option("--key", help="The column that is the key.")
@click.option("--timestamp", help="The column with the timestamps.")
def main(bootstrap_servers, topic, properties, file, key, timestamp):
    read = READERS.get(Path(file).suffix)
    if read is None:
        raise click.UsageError(f"{file} must end in {', '.join(READERS)}")
    frame = read(file)
    with Sender(bootstrap_servers, topic, properties, frame.height) as sender:
        for rows in frame.iter_slices(CHUNK):
            documents = rows.select(pl.struct(pl.all()).struct.json_encode()).to_series()
            sender.send(
                documents,
                keys=None if key is None else rows[key].cast(pl.String),
                timestamps=None if timestamp is None else rows[timestamp],
            )


if __name__ == "__main__":
    main()
