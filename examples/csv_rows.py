"""The rows of a CSV file as JSON documents: python csv_rows.py -b localhost:9092 -t rows --key name rows.csv"""

import csv
import json
from itertools import islice

import click
from sending import Sender, options

CHUNK = 10_000


@click.command()
@options
@click.option("--key", help="The column that is the key.")
def main(bootstrap_servers, topic, properties, file, key):
    with open(file, newline="", encoding="utf-8") as text, Sender(bootstrap_servers, topic, properties) as sender:
        rows = csv.DictReader(text)
        if key is not None and key not in (rows.fieldnames or ()):
            raise ValueError(f"{file} has no column {key!r}, only {', '.join(rows.fieldnames or ())}")
        while chunk := list(islice(rows, CHUNK)):
            good = []
            for row in chunk:
                if None in row or None in row.values():
                    sender.refuse(f"the row that ends in line {rows.line_num} has not as many fields as the header")
                else:
                    good.append(row)
            sender.send(
                [json.dumps(row, ensure_ascii=False) for row in good],
                keys=None if key is None else [row[key] for row in good],
            )


if __name__ == "__main__":
    main()
