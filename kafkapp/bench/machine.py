"""Machine of a run: its hardware, the versions, and how much of it other processes used."""
from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("kafkapp", "confluent-kafka", "kafka-python", "aiokafka")


def cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def kcat_version() -> str | None:
    try:
        out = subprocess.run(["kcat", "-V"], check=False, text=True, capture_output=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = [line for line in out.splitlines() if line.startswith("Version")]
    return found[0].removeprefix("Version ") if found else None


def machine() -> dict[str, str]:
    """The machine and all versions, by name."""
    from kafkapp.bench import floor

    facts = {"cpu": cpu_model(), "cores": str(os.cpu_count()), "system": f"{platform.system()} {platform.release()}",
            "python": f"{platform.python_implementation()} {platform.python_version()}", "librdkafka": floor.version()}
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "from source" if package == "kafkapp" else "not installed"
    try:
        from confluent_kafka import libversion
        facts["confluent-kafka"] += f" (librdkafka {libversion()[0]})"
    except ImportError:
        pass
    facts["kcat"] = kcat_version() or "not installed"
    return facts


def cpu_seconds() -> tuple[float, float, float] | None:
    """CPU seconds of the whole machine, of the hypervisor's other guests, of this process and its ended children."""
    try:
        with open("/proc/stat") as stat:
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    tick = os.sysconf("SC_CLK_TCK")
    mine = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return ((user + nice + system + irq + softirq) / tick, steal / tick,
            sum(usage.ru_utime + usage.ru_stime for usage in mine))


class Noise:
    """How much of the machine other processes have used since it was created."""

    def __init__(self) -> None:
        self.began, self.before = time.monotonic(), cpu_seconds()

    def share(self) -> dict[str, float]:
        """Percent of all cores: `others`, used by other processes, and `stolen` by the hypervisor."""
        after = cpu_seconds()
        if not self.before or not after:
            return {}
        busy, stolen, mine = (late - early for late, early in zip(after, self.before, strict=True))
        whole = (time.monotonic() - self.began) * (os.cpu_count() or 1) or 1.0
        return {"others": round(max(0.0, busy - mine) / whole * 100, 1), "stolen": round(stolen / whole * 100, 1)}
