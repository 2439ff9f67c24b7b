"""Whole programs as clients: Python with an import, and commands that send a file."""
from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time

from meter import Run  # type: ignore[import-not-found]


def children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def start_up(run: Run) -> None:
    """The time of an interpreter that imports `options.module`, or nothing, and exits.

    Modules are compiled before, as those of an installed package are, whatever PYTHONDONTWRITEBYTECODE says.
    """
    module = run.options.get("module")
    command = [sys.executable, "-c", f"import {module}" if module else "pass"]
    with tempfile.TemporaryDirectory(prefix="kafkapp-bench-") as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        subprocess.run(command, check=True, env=environment)
        seconds, before = [], children_cpu()
        for _ in range(run.records):
            begin = time.perf_counter()
            subprocess.run(command, check=True, env=environment)
            seconds.append(time.perf_counter() - begin)
        run.report(run.records, latencies=seconds, cpu=children_cpu() - before)


def measured(run: Run, command: list[str]) -> None:
    before = children_cpu()
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=120)
    seconds = time.perf_counter() - begin
    run.report(None, seconds=seconds, cpu=children_cpu() - before)


def kcat(run: Run) -> None:
    measured(run, ["kcat", "-q", "-P", "-b", run.bootstrap, "-t", run.topic, "-p", "0", "-l", run.options["file"]])


def kafkapp_produce(run: Run) -> None:
    measured(run, [sys.executable, "-P", "-m", "kafkapp", "produce", "-b", run.bootstrap, "-t", run.topic, "-p", "0",
                   run.options["file"]])


def java(run: Run) -> None:
    """The official Java producer, ProducerPerformance of the jars in KAFKA_HOME (a distribution, or just the jars).

    Measured by its own clock, from its last line: without the start of the virtual machine.
    """
    home = os.environ["KAFKA_HOME"]
    before = children_cpu()
    out = subprocess.run(
        ["java", "-cp", f"{home}/libs/*:{home}/*", "org.apache.kafka.tools.ProducerPerformance", "--topic", run.topic,
         "--num-records", str(run.records), "--record-size", str(run.size), "--throughput", "-1", "--producer-props",
         f"bootstrap.servers={run.bootstrap}", "acks=all", f"linger.ms={run.settings['linger.ms']}",
         "batch.size=1000000", "enable.idempotence=false"],
        check=True, text=True, stdout=subprocess.PIPE, timeout=120, env={**os.environ, "LC_ALL": "C"}).stdout
    total = next(line for line in reversed(out.splitlines()) if " records sent, " in line)
    rate = float(total.split(" records sent, ")[1].split()[0])
    run.report(None, seconds=run.records / rate, cpu=children_cpu() - before)


PATHS = {"start-up": start_up, "kcat": kcat, "kafkapp-produce": kafkapp_produce, "java": java}
