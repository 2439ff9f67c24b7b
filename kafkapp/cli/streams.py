"""Output of the command line: results on standard output, all else on standard error.

A failed write (full disk, closed pipe) does not end a run: it is kept, and reported at the end.
"""
import click

lost: list[tuple[str, OSError]] = []     # failed writes, in order, for the command's exit


def say(text: str, err: bool = False) -> None:
    """Print a result, or with `err` a line on standard error. Thread-safe."""
    try:
        click.echo(text, err=err)
    except OSError as failure:
        lost.append(("standard error" if err else "standard output", failure))


def say_bytes(data: bytes, err: bool = False) -> None:
    """As `say`, for bytes as they are: no line end is added."""
    try:
        click.echo(data, nl=False, err=err)
    except OSError as failure:
        lost.append(("standard error" if err else "standard output", failure))


def note(text: str) -> None:
    """Print a line on standard error."""
    say(text, err=True)
