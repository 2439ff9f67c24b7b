"""The examples that are a part of other programs: a FastAPI application, by its test client, and a handler of `logging`."""
import importlib.util
import json
import logging
import signal
import subprocess
import sys

import pytest
from batches import NOBODY
from helpers import ROOT

from kafkapp import KafkaSyncProducer

EXAMPLES = ROOT / "examples"


def imported(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_fastapi_app(cluster, monkeypatch):
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    cluster.create_topic("orders")
    cluster.create_topic("clicks")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", cluster.bootstrap_servers)
    with TestClient(imported("fastapi_app").app) as client:
        answers = [client.post(f"/orders/{number}", content=b"%d apples" % number) for number in range(20)]
        assert [answer.status_code for answer in answers] == [200] * 20
        assert all(client.post("/clicks", content=b"here").status_code == 202 for _ in range(20))
        assert client.post("/orders/1", content=b"v" * 2_000_000).status_code == 413
        assert client.get("/health").json()["dropped"] == 0
    found = {record.key: (record.partition, record.offset, record.value) for record in cluster.records("orders")}
    assert found == {
        b"%d" % number: (answer.json()["partition"], answer.json()["offset"], b"%d apples" % number)
        for number, answer in enumerate(answers)
    }
    assert [record.value for record in cluster.records("clicks")] == [b"here"] * 20  # closed: all are delivered


def test_fastapi_app_while_the_brokers_are_away(monkeypatch):
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    module = imported("fastapi_app")
    module.PROPERTIES.update({"message.timeout.ms": 2000, "queue.buffering.max.messages": 10, "log_cb": lambda *log: None})
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", NOBODY)
    with TestClient(module.app) as client:
        answer = client.post("/orders/1", content=b"lost")
        assert answer.status_code == 503 and "timed out" in answer.json()["detail"]
        for _ in range(1000):
            assert client.post("/clicks", content=b"here").status_code == 202
            if dropped := client.get("/health").json()["dropped"]:
                break
        assert dropped


def test_logging_handler(broker, topic):
    result = subprocess.run([sys.executable, EXAMPLES / "logging_handler.py", broker.bootstrap_servers, topic],
                            capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0 and "order 42 has 3 items" in result.stderr
    first, second = (json.loads(record.value) for record in broker.records(topic))
    assert (first["level"], first["logger"], first["message"]) == ("INFO", "shop.orders", "order 42 has 3 items")
    assert second["message"] == "order 43 has no price" and "ValueError" in second["exception"]


def test_logging_handler_without_brokers_holds_nothing_up_and_counts_what_it_drops():
    handler = imported("logging_handler").KafkaHandler(
        {"bootstrap.servers": NOBODY, "queue.buffering.max.messages": 10, "message.timeout.ms": 300}, "logs"
    )
    log = logging.Logger("shop")
    log.addHandler(handler)
    for number in range(100):
        log.info("line %d", number)
    assert handler.dropped >= 90 - 10
    handler.handle(logging.makeLogRecord({"name": "kafkapp", "msg": "brokers are away"}))
    handler.flush()
    handler.close()
    log.info("after close")
    handler.flush()
    handler.close()  # logging.shutdown() flushes and closes again
    assert handler.dropped == 101


def test_asyncio_worker(cluster):
    """Ended amid its work and started again it does each record once."""
    cluster.create_topic("orders")
    with KafkaSyncProducer({"bootstrap.servers": cluster.bootstrap_servers}) as producer:
        producer.send_batch("orders", [b"%d apples" % number for number in range(1000)])
    done = []
    for last in False, True:
        worker = subprocess.Popen([sys.executable, EXAMPLES / "asyncio_worker.py", cluster.bootstrap_servers, "orders"],
                                  stdout=subprocess.PIPE, text=True)
        with worker:
            for line in worker.stdout:
                done.append(line.partition(" ")[2].strip())
                if len(done) == (1000 if last else 150):
                    worker.send_signal(signal.SIGTERM)
        assert worker.returncode == 0
    assert sorted(done) == sorted(f"{number} apples" for number in range(1000))
