"""Command line `kafkapp`: its commands, one line of text for each usage error.

Standard output carries the results, standard error everything else.
Exit status: 0 all delivered, 1 some not delivered, 2 usage error, 128 + n ended by signal n.
"""
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, ClassVar

import click

import kafkapp
from kafkapp import SendOption
from kafkapp.cli.input import STDIN
from kafkapp.cli.options import (
    merged,
    parse_bytes,
    parse_files,
    parse_headers,
    parse_pairs,
    parse_paths,
    parse_text,
    parse_timeout,
)
from kafkapp.cli.produce import Misuse, ProduceOptions, Run
from kafkapp.cli.streams import lost, note, say
from kafkapp.common.texts import one_line
from kafkapp.config.application import librdkafka_is_patched

COMPLETION = """\b
Shell completion, in the shell's start-up file:
  bash:  eval "$(_KAFKAPP_COMPLETE=bash_source kafkapp)"
  zsh:   eval "$(_KAFKAPP_COMPLETE=zsh_source kafkapp)"
  fish:  _KAFKAPP_COMPLETE=fish_source kafkapp | source"""
SECRETS = "Secrets belong into a properties file (-F): the arguments of a command can be read by others on the machine."


def show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    try:
        ours = kafkapp.__version__
    except ImportError:  # importlib's PackageNotFoundError is one
        ours = "(not installed)"
    patched = ", with kafkapp's patches" if librdkafka_is_patched() else ""
    say(f"kafkapp {ours}\nlibrdkafka {kafkapp.librdkafka_version()}{patched}\n"
        f"features: {', '.join(kafkapp.librdkafka_features())}")
    context.exit()


class Carried(Exception):
    """Carries an exception past click, which prints, wraps or swallows it, depending on its release."""


@contextmanager
def carried() -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, KeyboardInterrupt) as failure:
        raise Carried from failure


class Commands(click.Group):
    """The commands of this module, and those of other modules, which are imported on demand."""

    # name: module with a click command named `command`
    elsewhere: ClassVar = {"bench": "kafkapp.bench", "mock-cluster": "kafkapp.cli.mock_cluster",
                           "verifiable-producer": "kafkapp.cli.verifiable_producer"}

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), *self.elsewhere])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if module := self.elsewhere.get(name):
            command: click.Command = import_module(module).command
            return command
        return super().get_command(context, name)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with carried():
            return super().make_context(*arguments, **options)

    def invoke(self, context: click.Context) -> Any:
        with carried():
            return super().invoke(context)


@click.group("kafkapp", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=COMPLETION,
             invoke_without_command=True)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=show_version,
              help="Show the versions of kafkapp and librdkafka, and what librdkafka can do.")
@click.pass_context
def group(context: click.Context) -> None:
    """Send records to Kafka without copying them."""
    if os.environ.get("NO_COLOR"):
        context.color = False
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def show_logs(wanted: bool) -> None:
    """Send librdkafka's logs to standard error, or discard them: errors are part of the results."""
    logger = logging.getLogger("kafkapp")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler() if wanted else logging.NullHandler())
    logger.setLevel(logging.DEBUG if wanted else logging.CRITICAL + 1)


@group.command(epilog=SECRETS)
@click.argument("files", metavar="[FILE]...", nargs=-1, callback=parse_paths)
@click.option("-t", "--topic", callback=parse_text,
              help="Where to. Default with --embedded: a topic named after the file.")
@click.option("-b", "--bootstrap-servers", metavar="HOST:PORT,...", callback=parse_text,
              help="Brokers to ask first. Default: the environment's KAFKA_BOOTSTRAP_SERVERS.")
@click.option("--embedded", is_flag=True,
              help="For a try: send to an embedded cluster, whose records are gone when the command ends.")
@click.option("-X", "--property", "pairs", metavar="KEY=VALUE", multiple=True, callback=parse_pairs,
              help="A property of librdkafka; may be repeated.")
@click.option("-F", "--properties-file", "filed", metavar="FILE", multiple=True, callback=parse_files,
              help="Properties as Java's tools read them, but UTF-8; -X and -b go above them.")
@click.option("--sync", is_flag=True, help="Use the synchronous producer: wait for each record.")
@click.option("--manual", is_flag=True, help="Use the asynchronous producer with manual polling.")
@click.option("--copy", is_flag=True, help="Have librdkafka copy each value.")
@click.option("-K", "--key-delimiter", metavar="TEXT", callback=parse_bytes,
              help="Ends the key; a line without it has no key.")
@click.option("-D", "--delimiter", metavar="TEXT", default=r"\n", show_default=True, callback=parse_bytes,
              help="Ends the record; no part of it.")
@click.option("-H", "--header", "headers", metavar="NAME=VALUE", multiple=True, callback=parse_headers,
              help="A header for each record; may be repeated.")
@click.option("-p", "--partition", type=click.IntRange(0, 2**31 - 1), help="Default: the partitioner chooses.")
@click.option("-Z", "--null-empty", is_flag=True, help="Send an empty key or value as null.")
@click.option("--timeout", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS",
              callback=parse_timeout, help="How long to look for a broker.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Show what librdkafka logs.")
def produce(files: tuple[str, ...], topic: str | None, bootstrap_servers: str | None, embedded: bool,
            pairs: dict[str, str], filed: dict[str, str], sync: bool, manual: bool, copy: bool,
            key_delimiter: bytes | None, delimiter: bytes, headers: list[tuple[str, bytes]],
            partition: int | None, null_empty: bool,
            timeout: float, as_json: bool, verbose: bool) -> int:
    r"""Send each line of the FILEs as a record, without a copy: they are memory-mapped.

    Without a FILE, or for `-`, lines come from standard input, and on a terminal from whoever types there.
    TEXT may hold \n, \r, \t, \0, \\ and \xHH. A FILE that is truncated while it is being sent ends the command.
    """
    if sync and manual:
        raise Misuse("--sync and --manual exclude each other")
    properties = merged(filed, pairs, bootstrap_servers)
    show_logs(verbose or "debug" in properties)
    return Run(ProduceOptions(
        paths=files or (STDIN,), topic=topic, properties=properties, embedded=embedded,
        mode="sync" if sync else "manual" if manual else "async",
        option=SendOption.ToCopyRecordValue if copy else SendOption.NoCopyRecordValue,
        delimiter=delimiter, key_delimiter=key_delimiter, headers=headers, partition=partition,
        null_empty=null_empty, timeout=timeout, as_json=as_json)).run()


def run() -> int:
    """Run the command line. Returns the exit status; raises what is not a usage error, for `__main__` to report."""
    status: int
    try:
        status = group.main(prog_name="kafkapp", standalone_mode=False) or 0
    except click.UsageError as failure:
        command = failure.ctx.command_path if failure.ctx else "kafkapp"
        message = one_line(" ".join(failure.format_message().split())).removesuffix(".")
        note(f"{command}: {message}. See '{command} --help'.")
        status = failure.exit_code
    except click.ClickException as failure:
        note(one_line(f"kafkapp: {' '.join(failure.format_message().split())}"))
        status = failure.exit_code
    except Carried as carrier:
        assert carrier.__cause__ is not None
        raise carrier.__cause__ from None
    if lost and status < 128:
        where, loss = max(lost, key=lambda pair: pair[0])   # standard output before standard error
        raise OSError(loss.errno, loss.strerror, where)
    return status
