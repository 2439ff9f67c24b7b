"""Command `kafkapp bench`: selects scenarios, runs their cases interleaved, prints the results.

Exit status 1: a case failed or lost records. A missed target is a result, not a failure.
"""
from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from time import time_ns

import click

from kafkapp.bench import instructions
from kafkapp.bench.broker import mock_cluster
from kafkapp.bench.case import Case, CaseFailed, run_case
from kafkapp.bench.scenario import Result, Scenario
from kafkapp.bench.scenarios import ALL

LINE = b"%064d\n"


def write_lines(path: Path, lines: int) -> None:
    with path.open("wb") as out:
        for begin in range(0, lines, 10_000):
            out.write(b"".join(LINE % line for line in range(begin, min(lines, begin + 10_000))))


@contextmanager
def with_files(scenario: Scenario) -> Iterator[Scenario]:
    """The scenario, with files for the cases that send one: a line for each record."""
    with tempfile.TemporaryDirectory(prefix="kafkapp-bench-") as folder:
        cases = []
        for case in scenario.cases:
            if "file" in case.options:
                path = Path(folder) / f"{case.records}-lines"
                if not path.exists():
                    write_lines(path, case.records)
                case = replace(case, options={**case.options, "file": str(path)})
            cases.append(case)
        yield replace(scenario, cases=tuple(cases))


@contextmanager
def broker(bootstrap: str | None) -> Iterator[str]:
    """The given servers, else a new mock cluster: it starts each round with empty memory."""
    if bootstrap is not None:
        yield bootstrap
    else:
        with mock_cluster() as servers:
            yield servers


def run_scenario(scenario: Scenario, rounds: int, bootstrap: str | None = None,
                 tell: Callable[[str], object] = lambda text: None) -> Result:
    """Run all cases of a scenario once in each round, one after the other; blocks.

    A case that fails, or loses records, is named in `failures` and not run again.
    """
    result = Result(scenario)
    for case in scenario.cases:
        if missing := case.missing():
            result.left_out[case.label] = f"{missing} is not there"
    number, begin = count(), f"kafkapp-bench-{time_ns():x}"
    with with_files(scenario) as filled:
        for turn in range(rounds):
            with broker(bootstrap) as servers:
                result.rounds.append({})
                for case in filled.cases:
                    if case.label in result.left_out or case.label in result.failures:
                        continue
                    tell(f"{scenario.name}: round {turn + 1} of {rounds}, {case.label}")
                    topic = f"shared-{case.records}" if case.options.get("shared") else str(next(number))
                    run_one(case, servers, f"{begin}-{topic}", result)
    return result


def run_one(case: Case, servers: str, topic: str, result: Result) -> None:
    try:
        result.rounds[-1][case.label] = run_case(case, servers, topic)
    except CaseFailed as failure:
        result.failures[case.label] = str(failure)
        for outcomes in result.rounds:
            outcomes.pop(case.label, None)


def count_instructions(result: Result, bootstrap: str | None = None,
                       tell: Callable[[str], object] = lambda text: None) -> None:
    """Count the instructions of the cases that can be counted; blocks for about half a minute for each."""
    with broker(bootstrap) as servers:
        for case in result.scenario.cases:
            if case.client not in instructions.CLIENTS or case.label in {**result.left_out, **result.failures}:
                continue
            tell(f"{result.scenario.name}: instructions, {case.label}")
            try:
                result.instructions[case.label] = instructions.count(case, servers)
            except CaseFailed as failure:
                result.failures[case.label] = str(failure)


def parse_servers(context: click.Context, parameter: click.Parameter, servers: str | None) -> str | None:
    if servers == "":       # from a shell variable that is not set
        raise click.BadParameter("must not be empty")
    return servers


def list_scenarios(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    for scenario in ALL.values():
        click.echo(f"{scenario.name:12} {scenario.text}{'' if scenario.default else ' (only when named)'}")
    context.exit()


@click.command("bench")
@click.argument("names", metavar="[SCENARIO]...", nargs=-1, type=click.Choice(list(ALL)))
@click.option("-b", "--bootstrap-servers", "bootstrap", metavar="HOST:PORT,...", callback=parse_servers,
              help="A real cluster that creates topics by itself. Without it: a mock cluster in its own process.")
@click.option("-r", "--rounds", type=click.IntRange(min=1), default=5, show_default=True,
              help="How often each case runs; the cases take turns.")
@click.option("--scale", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True,
              help="Times the number of records of each case.")
@click.option("--json", "json_wanted", is_flag=True, help="Print everything as JSON instead of tables.")
@click.option("--instructions", "counts_wanted", is_flag=True,
              help="Also count the instructions of a record, with valgrind: "
                   + ", ".join(name for name, scenario in ALL.items() if scenario.counted) + ".")
@click.option("--plot", "plot_path", metavar="FILE", type=click.Path(dir_okay=False, writable=True, path_type=Path),
              help="Draw the results into an SVG or PNG file (needs the extra kafkapp[plot]).")
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=list_scenarios,
              help="List the scenarios.")
def command(names: tuple[str, ...], bootstrap: str | None, rounds: int, scale: float, json_wanted: bool,
            counts_wanted: bool, plot_path: Path | None) -> int:
    """Measure rates, CPU and memory against a C program and the other clients that are installed.

    Each case is a process of its own, deliveries are counted, and a case that loses records has no result.
    """
    from rich.console import Console

    from kafkapp.bench.machine import Noise, machine
    from kafkapp.bench.report import as_json, print_result

    if plot_path:
        check_plot(plot_path)
    if counts_wanted and not instructions.is_there():
        raise click.UsageError(instructions.MISSING)
    chosen = [ALL[name] for name in dict.fromkeys(names)] or [scenario for scenario in ALL.values() if scenario.default]
    notes, console = Console(stderr=True), Console(width=None if sys.stdout.isatty() else 132)
    facts, noise, real = machine(), Noise(), bootstrap is not None
    if not json_wanted:
        console.print(", ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)
    results = []
    with notes.status("starting") as status:
        for scenario in chosen:
            result = run_scenario(scenario.scaled(scale), rounds, bootstrap, status.update)
            if counts_wanted and scenario.counted:
                count_instructions(result, bootstrap, status.update)
            results.append(result)
            if not json_wanted:
                print_result(result, facts, real, console)
    where, shares = bootstrap or "mock cluster in its own process", noise.share()
    if json_wanted:
        click.echo(json.dumps(as_json(results, facts, where, shares, real), indent=1))
    else:
        console.print(f"Broker: {where}. Rounds: {rounds}; medians (ranges), ratios within each round. "
                      "Used by others meanwhile: "
                      + ", ".join(f"{share} % ({name})" for name, share in shares.items()), highlight=False)
    if plot_path:
        from kafkapp.bench.plot import plot
        plot(results, facts, plot_path)
    failed = [reason for result in results for reason in result.failures.values()]
    for reason in failed:
        notes.print(f"kafkapp bench: {reason}", style="red", markup=False)
    return 1 if failed else 0


def check_plot(path: Path) -> None:
    """Raise now what would otherwise be raised after minutes."""
    from importlib.util import find_spec

    if path.suffix.lower() not in (".svg", ".png"):
        raise click.BadParameter("expected a name that ends in .svg or .png", param_hint="--plot")
    if not find_spec("matplotlib"):
        raise click.UsageError("--plot needs matplotlib: pip install 'kafkapp[plot]'")
