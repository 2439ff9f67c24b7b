"""Output of the command line: results on standard output, all else on standard error.

A failed write (full disk, closed pipe) does not end a run: the first one of
each stream is kept, and reported at the end.
"""
import click

STDOUT, STDERR = "standard output", "standard error"
lost: dict[str, OSError] = {}       # the first failed write of each stream, for the command's exit


def say(text: str, err: bool = False) -> None:
    """Print a result, or with `err` a line on standard error. Thread-safe."""
    try:
        click.echo(text, err=err)
    except OSError as failure:
        keep(failure, err)


def say_bytes(data: bytes, err: bool = False) -> None:
    """As `say`, for bytes as they are: no line end is added."""
    try:
        click.echo(data, nl=False, err=err)
    except OSError as failure:
        keep(failure, err)


def keep(failure: OSError, err: bool) -> None:
    """Without its traceback, whose frames hold what was to be written."""
    lost.setdefault(STDERR if err else STDOUT, failure.with_traceback(None))


def note(text: str) -> None:
    """Print a line on standard error."""
    say(text, err=True)
