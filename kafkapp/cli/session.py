"""Session on a terminal: sends the typed lines, prints the delivery reports as they come."""
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from kafkapp import Error
from kafkapp.cli.input import Job, send_records, send_text
from kafkapp.cli.rejects import LineId
from kafkapp.cli.streams import say
from kafkapp.common.texts import one_line

PROMPT = "Type message value and hit enter to produce message. (empty line to quit)"


def run_session(job: Job, drain: Callable[[], object], results_elsewhere: bool) -> None:
    """Send lines until an empty one.

    Args:
        drain: called after each line.
        results_elsewhere: standard output is for something else.
    """
    err = results_elsewhere
    count, count_refused, count_invalid = job.report, job.refused, job.invalid

    def report(metadata: Any, error: Error | None) -> None:
        count(metadata, error)
        if error is None:
            say(f"Message delivered: {metadata}", err=err)
        else:
            failed(error.message)

    def refused(line: LineId, error: Error) -> None:
        count_refused(line, error)
        failed(error.message)

    def invalid(line: LineId, reason: str) -> None:
        count_invalid(line, reason)
        failed(reason)

    def failed(reason: str) -> None:
        say(click.style(f"Message failed to be delivered: {one_line(reason)}", fg="red"), err=err)

    job.report, job.refused, job.invalid = report, refused, invalid
    say(PROMPT, err=err)
    if job.form is not None:
        send_records(job, typed(drain))
        return
    for text in typed(drain):
        send_text(job, text)
        if job.tee is not None:
            job.tee(b"\n")      # that was typed
        if job.limits.over:
            return


def typed(drain: Callable[[], object]) -> Iterator[bytes]:
    while text := sys.stdin.buffer.readline().rstrip(b"\n"):
        yield text
        drain()
