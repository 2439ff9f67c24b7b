"""A column of a Parquet file: python parquet.py -b localhost:9092 -t events --value body --key id events.parquet

--timestamp names a column of timestamps (null: now), --headers one of maps, or of lists of structs with key and value.
librdkafka reads Arrow's memory: no row becomes a Python object, and none is copied on the way.
"""

import click
import pyarrow as pa
import pyarrow.parquet as pq
from sending import Sender, options

CHUNK = 65_536
SENT_AS_IT_IS = {pa.binary(), pa.large_binary(), pa.string(), pa.large_string(), pa.binary_view(), pa.string_view()}


def sendable(column):
    """The column as bytes or text: numbers, dates and dictionaries are cast to text."""
    known = column.type in SENT_AS_IT_IS or pa.types.is_fixed_size_binary(column.type)
    return column if known else column.cast(pa.string())


@click.command()
@options
@click.option("--value", required=True, help="The column with the values.")
@click.option("--key", help="The column with the keys.")
@click.option("--timestamp", help="The column with the timestamps.")
@click.option("--headers", help="The column with the headers.")
def main(bootstrap_servers, topic, properties, file, value, key, timestamp, headers):
    parquet = pq.ParquetFile(file)
    with Sender(bootstrap_servers, topic, properties, parquet.metadata.num_rows) as sender:
        columns = [*filter(None, [value, key, timestamp, headers])]
        if missing := set(columns) - set(parquet.schema_arrow.names):
            raise ValueError(f"{file} has no column {', '.join(sorted(missing))}")
        for rows in parquet.iter_batches(CHUNK, columns=columns):
            sender.send(
                sendable(rows[value]),
                keys=None if key is None else sendable(rows[key]),
                timestamps=None if timestamp is None else rows[timestamp],
                headers=None if headers is None else rows[headers],
            )


if __name__ == "__main__":
    main()
