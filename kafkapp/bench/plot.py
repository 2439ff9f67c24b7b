"""Plot: one bar chart for each scenario, of the first figure of its table, median and range. Needs matplotlib."""
from __future__ import annotations

import statistics
from pathlib import Path

from kafkapp.bench.report import TITLES, figures, on_machine
from kafkapp.bench.scenario import Result


def plot(results: list[Result], machine: dict[str, str], path: Path) -> None:
    """Draw all results into one file, SVG or PNG by its suffix.

    Raises:
        ModuleNotFoundError: matplotlib is not installed (the extra `plot`).
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn = [(result, labels) for result in results if (labels := [
        case.label for case in result.scenario.cases if figures(result, case.label, result.scenario.shows[0])])]
    if not drawn:
        return
    heights = [1.2 + 0.3 * len(labels) for _, labels in drawn]
    figure, axes = pyplot.subplots(len(drawn), 1, figsize=(9, sum(heights)), squeeze=False,
                                   gridspec_kw={"height_ratios": heights}, layout="constrained")
    for axis, (result, labels) in zip(axes[:, 0], drawn, strict=True):
        name = result.scenario.shows[0]
        columns = [figures(result, label, name) for label in labels]
        medians = [statistics.median(column) for column in columns]
        axis.barh(labels, medians, color=["tab:blue" if "kafkapp" in label else "tab:gray" for label in labels], xerr=[
            [middle - min(column) for middle, column in zip(medians, columns, strict=True)],
            [max(column) - middle for middle, column in zip(medians, columns, strict=True)]], capsize=2)
        axis.invert_yaxis()
        axis.set_title(f"{result.scenario.name}: {result.scenario.text}", fontsize=9, loc="left")
        axis.set_xlabel(TITLES[name], fontsize=8)
        axis.tick_params(labelsize=8)
    figure.suptitle(on_machine(machine), fontsize=8)
    figure.savefig(path)
    pyplot.close(figure)
