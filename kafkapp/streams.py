"""What the command line says: results on standard output, the rest on standard error. Layer L5.

A full disk or a closed pipe there must not end a run in its middle: it is remembered, and told at the end.
"""
import click

lost: list[tuple[str, OSError]] = []     # what could not be written, in that order; main() says the first of it


def say(text: str, err: bool = False) -> None:
    """Print a result, or what `err` says is none; from any thread."""
    try:
        click.echo(text, err=err)
    except OSError as failure:
        lost.append(("standard error" if err else "standard output", failure))


def note(text: str) -> None:
    """Say something on standard error that is not the result."""
    say(text, err=True)
