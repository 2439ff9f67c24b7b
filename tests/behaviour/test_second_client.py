"""A second client fits: kafkapp.client serves a consumer that counts, without anything of a producer's.

tests/support/second_client.pyx is that client. It is compiled here, as any module that is built on kafkapp's .pxd files.
"""
import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
import threading
import warnings

import pytest
import sanitize
from helpers import ROOT, Stopwatch, properties

import kafkapp
from kafkapp import KafkaSyncProducer

SOURCE = ROOT / "tests" / "support" / "second_client.pyx"
RECORDS = 500


@pytest.fixture(scope="module")
def second_client(tmp_path_factory):
    """The module, compiled and loaded."""
    if lacks := sanitize.missing(None):
        assert not os.environ.get("CI"), lacks
        pytest.skip(lacks)
    folder = tmp_path_factory.mktemp("second_client")
    c, module = folder / "second_client.c", folder / "second_client.so"
    subprocess.run([sys.executable, "-m", "cython", "-3", "-I", ROOT, SOURCE, "-o", c], check=True, timeout=120)
    includes = [f"-I{part}" for part in (ROOT / "csrc", *sanitize.python_headers())]
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-w", *includes, *sanitize.installed().cflags, c, "-Wl,--no-as-needed",
                    kafkapp._modules.__file__, "-o", module], check=True, timeout=120)      # for its librdkafka
    spec = importlib.util.spec_from_loader("second_client", importlib.machinery.ExtensionFileLoader("second_client", str(module)))
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def filled(cluster, topic):
    """Partition 2 of a topic, with so many records in it."""
    with KafkaSyncProducer(properties(cluster)) as producer:
        assert not producer.send_batch(topic, [b"value"] * RECORDS, partition=2, timeout=20).failures()
    return topic


def settings(cluster, **more):
    return properties(cluster, {"group.id": "counters", "enable.auto.commit": "false"}, **more)


def test_it_imports_nothing_of_a_producer():
    rooms = set(re.findall(r"^(?:from|cimport|import) kafkapp\.(\w+)", SOURCE.read_text(), re.M))
    assert rooms == {"_librdkafka", "client", "common"}


@pytest.mark.parametrize("background", [True, False], ids=["its own thread dispatches", "its calls dispatch"])
def test_it_counts_what_comes_runs_callbacks_and_closes(second_client, cluster, filled, background):
    calls, threads = [], set()

    def callback(total):
        calls.append(total)
        threads.add(threading.get_ident())

    counter = second_client.Counter(settings(cluster), callback, RECORDS, background)
    assert counter.partitions(filled) == 4
    counter.assign(filled, 2)
    assert counter.wait(30)
    assert counter.total == calls[-1] == RECORDS and calls == sorted(calls)
    assert (threading.get_ident() in threads) == (not background)
    with Stopwatch() as watch:
        counter.close(20)
    assert watch.seconds < 15
    assert counter.ledger() == {"outstanding": 0, "kept": 0, "topics": 0}
    counter.close()
    with pytest.raises(RuntimeError, match="^the consumer is closed$"):
        counter.assign(filled, 2)


def test_a_wait_keeps_its_timeout(second_client, cluster, filled):
    counter = second_client.Counter(settings(cluster), lambda total: None, RECORDS + 1)
    counter.assign(filled, 2)
    assert not counter.wait(0.2)
    counter.close(20)


def test_its_texts_name_it(second_client, cluster, filled):
    errors = []

    def callback(total):
        try:
            counter.close()
        except RuntimeError as error:
            errors.append(str(error))

    counter = second_client.Counter(settings(cluster), callback, RECORDS)
    counter.assign(filled, 2)
    assert counter.wait(30)
    assert errors[0].startswith("close() was called from a callback of the same consumer, where it would deadlock: ")
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always", ResourceWarning)
        callback = None     # the cell, which the callback shares
        counter.__del__()
    assert [str(warning.message).partition(" ")[0] for warning in given if "was never closed" in str(warning.message)] == ["consumer"]
    with pytest.raises(RuntimeError, match="^the consumer is closed$"):
        counter.assign(filled, 2)


def test_what_its_callback_raises_reaches_the_call_that_dispatches(second_client, cluster, filled):
    def callback(total):
        raise LookupError(str(total))

    counter = second_client.Counter(settings(cluster), callback, RECORDS, False)
    counter.assign(filled, 2)
    with pytest.raises((LookupError, BaseExceptionGroup)) as raised:
        counter.wait(30)
    assert raised.group_contains(LookupError) if isinstance(raised.value, BaseExceptionGroup) else raised.value.args == (str(RECORDS),)
    counter.close(20)
