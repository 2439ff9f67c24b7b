"""The judges: other projects' own tests, fetched when they run, against kafkapp."""

import pytest


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter):
    """Say what a glance at the dots would miss: that a judge was left out."""
    for report in terminalreporter.stats.get("skipped", []):
        if "judges/" in report.nodeid:
            terminalreporter.write_line(f"{report.nodeid}: LEFT OUT ({report.longrepr[2]})", yellow=True)
