"""Reports of results: tables for people, JSON for programs. Imports rich only when it prints."""
from __future__ import annotations

import statistics
from typing import Any

from kafkapp.bench.case import Case
from kafkapp.bench.scenario import Result

TITLES = {"rate": "records/s", "wall_us": "wall µs", "cpu_us": "CPU µs", "sender_us": "CPU µs, sender",
          "peak_mb": "peak MB",
          "p50_us": "median µs", "p99_us": "p99 µs", "sent_us": "median µs since its send",
          "report_us": "µs a report", "stall_ms": "stall ms",
          "call_ms": "call ms", "held_bytes": "bytes a record", "growth_bytes": "growth, bytes a record",
          "seconds": "wall s", "cpu_seconds": "CPU s", "core_percent": "% of a core", "held_mb": "MB"}


def predicted_copy(case: Case) -> int:
    """Bytes of a value that the client's process copies by design, without the kernel's copy.

    librdkafka copies values of up to message.copy.max.bytes (65535) into the request and sends larger ones from their
    own memory; SendOption.ToCopyRecordValue copies the value once more, when it is enqueued.
    """
    return (case.size if case.size <= 65535 else 0) + (case.size if case.copy else 0)


def number(value: float) -> str:
    if value >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def spread(values: list[float]) -> str:
    """The median and the range of the rounds."""
    if not values:
        return ""
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))}-{number(max(values))})"


def figures(result: Result, label: str, name: str) -> list[float]:
    return [found[name] for found in (outcome.figures() for outcome in result.outcomes(label)) if name in found]


def counted(result: Result, label: str) -> str:
    return f"{result.instructions[label]:,.0f}" if label in result.instructions else ""


def on_machine(facts: dict[str, str]) -> str:
    """What a figure depends on most."""
    return f"{facts['cpu']}, {facts['cores']} cores; {facts['python']}, librdkafka {facts['librdkafka']}"


def print_result(result: Result, facts: dict[str, str], real: bool, console: Any) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    scenario, copies = result.scenario, result.scenario.name.startswith("copy")
    table = Table(title=f"{scenario.name}: {scenario.text}\n{on_machine(facts)}", box=box.SIMPLE, title_justify="left")
    table.add_column("case")
    titles = ["records", *[TITLES[name] for name in scenario.shows], *["instructions"] * bool(result.instructions),
              *["bytes copied"] * copies]
    for title in titles:
        table.add_column(title, justify="right")
    for case in scenario.cases:
        if case.label in result.failures or case.label in result.left_out:
            reason = result.failures.get(case.label) or result.left_out[case.label]
            table.add_row(case.label, Text(reason, "red" if case.label in result.failures else ""))
            continue
        table.add_row(case.label, f"{case.records:,}",
                      *[spread(figures(result, case.label, name)) for name in scenario.shows],
                      *[counted(result, case.label)] * bool(result.instructions),
                      *([f"{predicted_copy(case):,}"] if copies else []))
    console.print(table)
    verdicts = result.verdicts(real)
    if verdicts:
        console.print(verdict_table(verdicts))


def verdict_table(verdicts: list[Any]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, show_header=False)
    for verdict in verdicts:
        beyond = f"beyond it {verdict.target.beyond:g}" if verdict.target.beyond is not None else ""
        table.add_row(verdict.target.text, spread(verdict.figures), verdict.target.bound(), beyond,
                      Text(verdict.word, "red" if verdict.word == "MISSED" else ""))
    return table


def as_json(results: list[Result], machine: dict[str, str], broker: str, noise: dict[str, float],
            real: bool) -> dict[str, Any]:
    """Everything that was measured, with an entry for each process."""
    return {"machine": machine, "broker": broker, "noise": noise,
            "scenarios": [one_json(result, real) for result in results]}


def one_json(result: Result, real: bool) -> dict[str, Any]:
    cases = []
    for case in result.scenario.cases:
        outcomes = result.outcomes(case.label)
        cases.append({
            "label": case.label, "client": case.client, "path": case.path, "records": case.records, "size": case.size,
            "topics": case.topics, "partitions": case.partitions, "callback": case.callback, "copy": case.copy,
            "batch": case.batch, "settings": case.settings, "bytes_copied": predicted_copy(case),
            "instructions": result.instructions.get(case.label),
            "left_out": result.left_out.get(case.label), "failure": result.failures.get(case.label),
            "rounds": [{"delivered": outcome.raw["delivered"], **outcome.figures()} for outcome in outcomes]})
    targets = [{"text": verdict.target.text, "bound": verdict.target.bound(),
                "beyond": verdict.target.beyond, "median": verdict.median, "rounds": verdict.figures,
                "verdict": verdict.word} for verdict in result.verdicts(real)]
    return {"name": result.scenario.name, "text": result.scenario.text, "cases": cases, "targets": targets}
