"""A file of JSON documents, one a line, to a topic: python ndjson.py -b localhost:9092 -t events --key id events.ndjson

Each line is checked and sent unchanged; one of its fields may be the key.
"""

import json
from itertools import islice

import click
from sending import Sender, options

CHUNK = 10_000


@click.command()
@options
@click.option("--key", help="The field whose value is the key.")
def main(bootstrap_servers, topic, properties, file, key):
    with open(file, "rb") as lines, Sender(bootstrap_servers, topic, properties) as sender:
        number = 0
        while chunk := list(islice(lines, CHUNK)):
            values, keys = [], []
            for line in chunk:
                number += 1
                try:
                    document = json.loads(line)
                    keys.append(None if key is None else str(document[key]))
                except (ValueError, KeyError, TypeError) as exc:
                    sender.refuse(f"line {number}: {type(exc).__name__}: {exc}")
                else:
                    values.append(line.rstrip(b"\r\n"))
            sender.send(values, keys=keys)


if __name__ == "__main__":
    main()
