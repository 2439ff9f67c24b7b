"""The examples: each runs as its first lines say, and another client reads what it sent."""

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
import uuid
from pathlib import Path

import pytest
from batches import NOBODY
from helpers import wait_for
from readback import read_messages

from kafkapp import ErrorCode, KafkaSyncProducer

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = [{"id": i, "name": f"naïve {i}", "note": "" if i % 3 else None} for i in range(1000)]


def run(name, *arguments):
    environment = {**os.environ, "COLUMNS": "200"}
    environment.pop("PYTHONSAFEPATH", None)  # they import a module from their own folder
    result = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        capture_output=True,
        timeout=60,
        text=True,
        env=environment,
        check=False,
    )
    assert "Traceback" not in result.stderr, result.stderr
    assert result.stdout == ""
    return result


def sent(broker, topic):
    """(value, key) of all, in the order of the keys' numbers."""
    pairs = [(m.value(), m.key()) for m in read_messages(broker.bootstrap_servers, topic)]
    return sorted(pairs, key=lambda pair: int(re.search(rb"\d+", pair[1])[0]))


@pytest.fixture
def files(tmp_path):
    """The same rows in each format."""
    pa = pytest.importorskip("pyarrow")
    import csv

    import pyarrow.parquet as pq

    with open(tmp_path / "rows.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)
    with open(tmp_path / "rows.ndjson", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in ROWS)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet", row_group_size=300)
    return tmp_path


def test_ndjson(broker, topic, files):
    result = run("ndjson.py", "-b", broker.bootstrap_servers, "-t", topic, "--key", "id", files / "rows.ndjson")
    assert result.returncode == 0 and f"1000 records delivered to {topic}" in result.stderr
    assert sent(broker, topic) == [(json.dumps(row).encode(), b"%d" % row["id"]) for row in ROWS]


def test_ndjson_with_lines_that_are_none(broker, topic, tmp_path):
    (tmp_path / "bad.ndjson").write_text('{"id": 1}\n{"id": \n{"no": 2}\n{"id": 3}\n')
    result = run("ndjson.py", "-b", broker.bootstrap_servers, "-t", topic, "--key", "id", tmp_path / "bad.ndjson")
    assert result.returncode == 1 and "2 records delivered" in result.stderr
    assert "line 2: JSONDecodeError" in result.stderr and "line 3: KeyError" in result.stderr
    assert sent(broker, topic) == [(b'{"id": 1}', b"1"), (b'{"id": 3}', b"3")]


def test_csv(broker, topic, files):
    result = run("csv_rows.py", "-b", broker.bootstrap_servers, "-t", topic, "--key", "name", files / "rows.csv")
    assert result.returncode == 0 and "1000 records delivered" in result.stderr
    pairs = sent(broker, topic)
    assert [json.loads(value) for value, _ in pairs] == [{**row, "id": str(row["id"]), "note": ""} for row in ROWS]
    assert [key.decode() for _, key in pairs] == [row["name"] for row in ROWS]


def test_csv_without_that_column(broker, topic, files):
    result = run("csv_rows.py", "-b", broker.bootstrap_servers, "-t", topic, "--key", "nix", files / "rows.csv")
    assert result.returncode == 1 and "has no column 'nix', only id, name, note" in result.stderr


def test_parquet(broker, topic, files):
    result = run(
        "parquet.py",
        "-b",
        broker.bootstrap_servers,
        "-t",
        topic,
        "--value",
        "note",
        "--key",
        "id",
        files / "rows.parquet",
    )
    assert result.returncode == 0 and "1000 records delivered" in result.stderr and "1000/1000" in result.stderr
    assert sent(broker, topic) == [(None if row["note"] is None else b"", b"%d" % row["id"]) for row in ROWS]


def test_a_topic_becomes_parquet_files_and_is_committed(broker, topic, tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    with KafkaSyncProducer({"bootstrap.servers": broker.bootstrap_servers, "linger.ms": 5}) as producer:
        batch = producer.send_batch(topic, [None if i % 7 == 0 else f"v{i}" for i in range(1000)], keys=[f"k{i}" for i in range(1000)])
        assert batch.failures() == []
    options = ["-b", broker.bootstrap_servers, "-t", topic, "-g", topic, "-n", 1, "--idle", 5, tmp_path / "out"]
    assert "1000 records of" in run("topic_to_parquet.py", *options).stderr
    files = sorted((tmp_path / "out").iterdir())
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert sorted((row["key"], row["value"]) for row in rows) == sorted((b"k%d" % i, None if i % 7 == 0 else b"v%d" % i) for i in range(1000))
    committed = broker.committed(topic)
    assert sum(committed[topic, row["partition"]] == row["offset"] + 1 for row in rows) == len({row["partition"] for row in rows}), "all was"


def test_columns_of_timestamps_and_headers(broker, topic, tmp_path):
    pa, pl = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    import pyarrow.parquet as pq

    times = pa.array([*range(10**6, 10**6 + 100)], pa.timestamp("ms"))
    headers = pa.array([[("n", b"%d" % n)] for n in range(100)], pa.map_(pa.string(), pa.binary()))
    pq.write_table(pa.table({"id": range(100), "at": times, "more": headers}), tmp_path / "rows.parquet", row_group_size=30)
    options = ["-b", broker.bootstrap_servers, "-t", topic, "--key", "id", "--timestamp", "at"]
    result = run("parquet.py", *options, "--value", "id", "--headers", "more", tmp_path / "rows.parquet")
    assert result.returncode == 0 and "100 records delivered" in result.stderr
    messages = sorted(read_messages(broker.bootstrap_servers, topic), key=lambda message: int(message.key()))
    assert [(m.timestamp()[1], m.headers()) for m in messages] == [(10**6 + n, [("n", b"%d" % n)]) for n in range(100)]

    pl.DataFrame({"id": range(100), "at": pl.from_arrow(times)}).write_parquet(tmp_path / "more.parquet")
    options[3] = f"{topic}-polars"
    assert run("polars_rows.py", *options, tmp_path / "more.parquet").returncode == 0
    messages = sorted(read_messages(broker.bootstrap_servers, f"{topic}-polars"), key=lambda message: int(message.key()))
    assert [m.timestamp()[1] for m in messages] == [10**6 + n for n in range(100)]


def test_parquet_without_that_column(broker, topic, files):
    result = run("parquet.py", "-b", broker.bootstrap_servers, "-t", topic, "--value", "nix", files / "rows.parquet")
    assert result.returncode == 1 and "has no column nix" in result.stderr


@pytest.mark.parametrize("kind", ["csv", "parquet", "ndjson"])
def test_polars(broker, topic, files, kind):
    pytest.importorskip("polars")
    result = run("polars_rows.py", "-b", broker.bootstrap_servers, "-t", topic, "--key", "id", files / f"rows.{kind}")
    assert result.returncode == 0 and "1000 records delivered" in result.stderr
    pairs = sent(broker, topic)
    assert [key for _, key in pairs] == [b"%d" % row["id"] for row in ROWS]
    rows = [json.loads(value) for value, _ in pairs]
    assert [(row["id"], row["name"], row["note"] or None) for row in rows] == [
        (r["id"], r["name"], r["note"] or None) for r in ROWS
    ]


def test_opentelemetry_tracing(broker, topic):
    pytest.importorskip("opentelemetry.sdk")
    command = [sys.executable, EXAMPLES / "opentelemetry_tracing.py", "-b", broker.bootstrap_servers, "-t", topic, "--count", "2"]
    result = subprocess.run(command, capture_output=True, timeout=60, text=True, check=False)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    spans = [json.loads(line) for line in result.stdout.splitlines()]
    of_sends = [span for span in spans if span["name"] == f"send {topic}"]
    orders = {span["context"]["span_id"] for span in spans if span["name"] == "place order"}
    assert len(of_sends) == len(orders) == 4 and {span["parent_id"] for span in of_sends} == orders
    contexts = {f"00-{span['context']['trace_id'][2:]}-{span['context']['span_id'][2:]}".encode() for span in of_sends}
    messages = read_messages(broker.bootstrap_servers, topic)
    assert len(messages) == 4 and {dict(message.headers())["traceparent"][:-3] for message in messages} == contexts


def test_prometheus_metrics(broker, topic):
    pytest.importorskip("prometheus_client")
    command = [sys.executable, EXAMPLES / "prometheus_metrics.py", "-b", broker.bootstrap_servers, "-t", topic, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            url = program.stdout.readline().strip()

            def scraped():
                with urllib.request.urlopen(url, timeout=30) as page:
                    return re.search(rf'kafkapp_topic_sent_records_total{{client="ticks#.*",topic="{topic}"}} [1-9]', page.read().decode())

            wait_for(scraped, 60)
            program.send_signal(signal.SIGINT)
            assert program.communicate(timeout=60) == ("", "") and program.returncode == 0
        finally:
            program.kill()
    assert read_messages(broker.bootstrap_servers, topic)


EVERY = [
    ("ndjson.py", "rows.ndjson", []),
    ("csv_rows.py", "rows.csv", []),
    ("parquet.py", "rows.parquet", ["--value", "name"]),
    ("polars_rows.py", "rows.csv", []),
    ("etl_retry.py", "rows.csv", ["--rounds", "1"]),
    ("worker_pools.py", "rows.ndjson", ["--workers", "2"]),
]


@pytest.mark.parametrize(("name", "file", "more"), EVERY, ids=lambda part: str(part))
def test_failures_are_reported(broker, files, name, file, more):
    """Nobody takes the records: all of them are counted, and the exit status says so."""
    result = run(
        name,
        "-b",
        NOBODY,
        "-t",
        f"t-{uuid.uuid4().hex[:8]}",
        "-X",
        "message.timeout.ms=300",
        "-X",
        "log_level=0",
        *more,
        files / file,
    )
    assert result.returncode == 1 and "0 records delivered" in result.stderr
    assert re.search(r"1000 not sent: .*timed out", result.stderr)


@pytest.mark.parametrize(("name", "file", "more"), EVERY, ids=lambda part: str(part))
def test_a_bad_property_or_file_is_reported(files, name, file, more):
    result = run(name, "-b", NOBODY, "-t", "t", "-X", "nix=1", *more, files / file)
    assert result.returncode == 2 and "cannot create a producer" in result.stderr and "nix" in result.stderr
    result = run(name, "-b", NOBODY, "-t", "t", *more, files / "nowhere.csv")
    assert result.returncode == 2 and "nowhere.csv" in result.stderr


def test_failed_rows_are_sent_again_alone_and_in_order(cluster, topic, tmp_path):
    """The first request fails, each row in one of its own: it is sent again; a row that is too large is not."""
    pytest.importorskip("polars")
    rows = [{"id": 0, "note": "first"}, {"id": 1, "note": "x" * 2_000_000}, {"id": 2, "note": "third"}]
    (tmp_path / "rows.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cluster.push_request_errors("PRODUCE", ErrorCode.NOT_ENOUGH_REPLICAS)
    result = run("etl_retry.py", "-b", cluster.bootstrap_servers, "-t", topic, "--key", "id", "--pause", "0.01", "-X", "retries=0",
                 "-X", "batch.num.messages=1", "-X", "max.in.flight=1", tmp_path / "rows.ndjson")
    assert result.returncode == 1 and "1 of 3 rows failed, and are sent again" in result.stderr, result.stderr
    assert "2 records delivered" in result.stderr and "1 not sent: too large" in result.stderr
    assert [(json.loads(value)["note"], key) for value, key in sent(cluster, topic)] == [("first", b"0"), ("third", b"2")]
    [reject] = (json.loads(line) for line in (tmp_path / "rows.rejects.ndjson").read_text().splitlines())
    assert reject["id"] == 1 and "too large to be sent" in reject["error"]


def test_rows_that_fail_in_every_round_are_kept(files):
    pytest.importorskip("polars")
    result = run("etl_retry.py", "-b", NOBODY, "-t", "t", "--rounds", "2", "--pause", "0.01", "-X", "message.timeout.ms=300", "-X", "log_level=0",
                 files / "rows.parquet")
    assert result.returncode == 1 and "1000 of 1000 rows failed" in result.stderr and "0 records delivered" in result.stderr
    assert len((files / "rows.rejects.ndjson").read_text().splitlines()) == 1000


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_of_a_pool_send_what_they_make(broker, topic, files, method):
    result = run("worker_pools.py", "-b", broker.bootstrap_servers, "-t", topic, "--method", method, "--workers", "2", files / "rows.ndjson")
    assert result.returncode == 0 and f"1000 records delivered to {topic}" in result.stderr, result.stderr
    assert sent(broker, topic) == [(hashlib.sha256(line).hexdigest().encode(), line) for line in map(bytes.strip, open(files / "rows.ndjson", "rb"))]


def test_the_tests_of_ones_own_code_pass(tmp_path):
    shutil.copytree(EXAMPLES / "testing", tmp_path / "testing", ignore=shutil.ignore_patterns("__pycache__"))
    result = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", tmp_path / "testing"], cwd=tmp_path,
                            capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0 and "5 passed" in result.stdout, result.stdout + result.stderr
