"""C client over librdkafka: its loops are C, Python only starts and stops the clocks."""
from __future__ import annotations

from meter import Run, leave, memory  # type: ignore[import-not-found]

from kafkapp.bench.floor import Floor


def opened(run: Run, **more: str | int) -> Floor:
    return Floor(run.properties(**more), run.topic, run.topics, run.partitions)


def send(run: Run) -> None:
    floor = opened(run)
    run.warm = len(run.targets())
    floor.send(run.value, run.warm)
    if not floor.wait(run.warm) or floor.failed:
        raise RuntimeError(f"nothing can be sent: {floor.error or 'no report in a minute'}")
    run.start()
    floor.send(run.value, run.records, run.batch, run.copy)
    run.sent()
    floor.wait(run.warm + run.records, 120)
    run.stop(floor.delivered - run.warm)
    floor.close()


def sync(run: Run) -> None:
    floor = opened(run, **{"linger.ms": 0})
    floor.round_trips(run.value, 20)
    run.report(run.records, latencies=floor.round_trips(run.value, run.records))
    floor.close()


def hold(run: Run) -> None:
    floor = opened(run)
    floor.send(run.value, 1000, copy=run.copy)
    held = memory()
    floor.send(run.value, run.records, copy=run.copy)
    held = memory() - held
    floor.purge()
    floor.wait(run.records + 1000)
    run.report(floor.failed - 1000, held=held)
    leave(run)


PATHS = {"send": send, "sync": sync, "hold": hold}
