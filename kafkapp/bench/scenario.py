"""Scenarios and targets: the cases that belong together, the ratios between them, and their bounds.

A ratio is taken within a round, whose cases ran in the same minute; the median of the rounds is judged.
"""
from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kafkapp.bench.case import Case, Outcome

Round = Mapping[str, Outcome]


@dataclass(frozen=True)
class Target:
    """A figure made of the outcomes of a round, and its bounds, if any.

    `measure` raises KeyError when a case that it needs was left out. `real`: judged with a real broker only.
    """

    text: str
    measure: Callable[[Round], float]
    at_least: float | None = None
    at_most: float | None = None
    beyond: float | None = None
    real: bool = False

    def bound(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""

    def holds(self, figure: float) -> bool | None:
        """Whether the figure is within the bound; None without one."""
        if self.at_least is not None:
            return figure >= self.at_least
        return figure <= self.at_most if self.at_most is not None else None


@dataclass(frozen=True)
class Scenario:
    """Cases that are measured together; `shows` are the figures of its table.

    `counted`: the cost of a record is the same for each, so that its instructions can be counted.
    """

    name: str
    text: str
    cases: tuple[Case, ...]
    targets: tuple[Target, ...] = ()
    shows: tuple[str, ...] = ("rate", "cpu_us", "sender_us")
    default: bool = True
    counted: bool = False

    def scaled(self, factor: float) -> Scenario:
        """The scenario with `factor` times the records, for a quicker or a longer run."""
        def fewer(case: Case) -> Case:
            step = case.batch or 1
            records = case.records if case.records == 1 else max(step, round(case.records * factor / step) * step)
            return replace(case, records=records)

        return replace(self, cases=tuple(map(fewer, self.cases)))


@dataclass
class Verdict:
    """The result of a target over all rounds."""

    target: Target
    figures: list[float]
    reason: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.figures) if self.figures else None

    @property
    def word(self) -> str:
        if self.median is None:
            return f"not measured: {self.reason}"
        held = self.target.holds(self.median)
        return "" if held is None else "holds" if held else "MISSED"


@dataclass
class Result:
    """All rounds of one scenario; `instructions` a record by the label of the case, where they were counted."""

    scenario: Scenario
    rounds: list[dict[str, Outcome]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    instructions: dict[str, float] = field(default_factory=dict)

    def outcomes(self, label: str) -> Sequence[Outcome]:
        return [outcomes[label] for outcomes in self.rounds if label in outcomes]

    def verdicts(self, real: bool) -> list[Verdict]:
        return [self.verdict(target) for target in self.scenario.targets if real or not target.real]

    def verdict(self, target: Target) -> Verdict:
        figures, reason = [], None
        for outcomes in self.rounds:
            try:
                figures.append(target.measure(outcomes))
            except KeyError as failure:
                label = failure.args[0]
                reason = self.failures.get(label) or self.left_out.get(label) or f"no {label}"
        return Verdict(target, figures, reason)
