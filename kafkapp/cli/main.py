"""Command line `kafkapp`: its commands, one line of text for each usage error.

Standard output carries the results, standard error everything else.
Exit status: 0 all delivered, 1 some not delivered, 2 usage error, 128 + n ended by signal n.
"""
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, ClassVar

import click

import kafkapp
from kafkapp import SendOption
from kafkapp.cli.cluster_list import list_cluster
from kafkapp.cli.input import STDIN
from kafkapp.cli.options import (
    compressed,
    merged,
    parse_bytes,
    parse_column_separator,
    parse_files,
    parse_headers,
    parse_pairs,
    parse_paths,
    parse_rate,
    parse_text,
    parse_timeout,
)
from kafkapp.cli.produce import Misuse, ProduceOptions, Run
from kafkapp.cli.properties import LIST, complete_pair, properties_json, properties_text
from kafkapp.cli.streams import STDERR, STDOUT, lost, note, say
from kafkapp.cli.summary import summary
from kafkapp.cli.tally import Tally
from kafkapp.common.texts import one_line
from kafkapp.config.application import librdkafka_is_patched

COMPLETION = """\b
Shell completion, in the shell's start-up file:
  bash:  eval "$(_KAFKAPP_COMPLETE=bash_source kafkapp)"
  zsh:   eval "$(_KAFKAPP_COMPLETE=zsh_source kafkapp)"
  fish:  _KAFKAPP_COMPLETE=fish_source kafkapp | source"""
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
FORMATS = ("lines", "json", "envelope", "csv", "file")
EPILOG = """Secrets belong into a properties file (-F): the arguments of a command can be read by others on the machine.

\b
Exit status:
  0         all records were delivered
  1         some were not, or lines made no record; the summary says how many, and why
  2         nothing was sent, or not all that was to be: a wrong option, a file that cannot be read or written,
            no broker
  130, 143  ended by Ctrl-C or SIGTERM; the summary says what was delivered"""


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
    elsewhere: ClassVar = {"bench": "kafkapp.bench", "consume": "kafkapp.cli.consume",
                           "mock-cluster": "kafkapp.cli.mock_cluster",
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


@group.command(epilog=EPILOG)
@click.argument("files", metavar="[FILE]...", nargs=-1, callback=parse_paths)
@click.option("-t", "--topic", callback=parse_text,
              help="Where to. Default with --embedded: a topic named after the file.")
@click.option("-b", "--bootstrap-servers", metavar="HOST:PORT,...", callback=parse_text,
              help="Brokers to ask first. Default: the environment's KAFKA_BOOTSTRAP_SERVERS.")
@click.option("--embedded", is_flag=True,
              help="For a try: send to an embedded cluster, whose records are gone when the command ends.")
@click.option("-X", "--property", "pairs", metavar="KEY=VALUE", multiple=True, callback=parse_pairs,
              shell_complete=complete_pair,
              help="A property of librdkafka; may be repeated. `-X list` lists them, with their defaults and meanings.")
@click.option("-F", "--properties-file", "filed", metavar="FILE", multiple=True, callback=parse_files,
              help="Properties as Java's tools read them, but UTF-8; -X and -b go above them.")
@click.option("-z", "--compress", "codec", type=click.Choice(CODECS), help="Compress the batches of records.")
@click.option("--sync", is_flag=True, help="Use the synchronous producer: wait for each record.")
@click.option("--manual", is_flag=True, help="Use the asynchronous producer with manual polling.")
@click.option("--copy", is_flag=True, help="Have librdkafka copy each value.")
@click.option("-f", "--format", "form", type=click.Choice(FORMATS), help=(
              "What the input is. lines: a value each, behind a key with -K. json: a JSON object a line, which is the "
              "value as it stands. envelope: JSON objects with key, value, headers, timestamp and partition, as "
              "`kcat -J` writes them. csv: rows below a header, each a JSON object. file: a whole file is one record. "
              "Default: lines; json with --key-field."))
@click.option("-k", "--key", metavar="TEXT", callback=parse_bytes,
              help="The key of each record that has none of its own.")
@click.option("-K", "--key-delimiter", metavar="TEXT", callback=parse_bytes,
              help="Ends the key; a line without it has no key.")
@click.option("--key-field", metavar="NAME", callback=parse_text,
              help="The field of a JSON object, or the column of a row, that is the key.")
@click.option("-D", "--delimiter", metavar="TEXT", callback=parse_bytes,
              help=r"Ends the record; no part of it.  [default: \n]")
@click.option("--column-separator", metavar="CHARACTER", callback=parse_column_separator,
              help="Between two columns of a row.  [default: ,]")
@click.option("-H", "--header", "headers", metavar="NAME=VALUE", multiple=True, callback=parse_headers,
              help="A header for each record; may be repeated.")
@click.option("--header-delimiter", metavar="TEXT", callback=parse_bytes,
              help="Each line begins with headers, as name:value,name:value; this ends them.")
@click.option("--header-separator", metavar="TEXT", callback=parse_bytes,
              help="Between two headers of a line.  [default: ,]")
@click.option("--header-key-separator", metavar="TEXT", callback=parse_bytes,
              help="Between the name and the value of a line's header.  [default: :]")
@click.option("-p", "--partition", type=click.IntRange(0, 2**31 - 1), help="Default: the partitioner chooses.")
@click.option("-Z", "--null-empty", is_flag=True, help="Send an empty key or value as null.")
@click.option("--null-marker", metavar="TEXT", callback=parse_bytes,
              help="A key, value or header's value of a line that is this text is null.")
@click.option("-c", "--count", type=click.IntRange(min=1), metavar="N", help="Stop after so many records.")
@click.option("--rate", type=float, metavar="N", callback=parse_rate, help="Send at most so many records a second.")
@click.option("--fail-fast", is_flag=True,
              help="Stop at the first record that fails. Default: count it, and send the others.")
@click.option("--rejects", metavar="FILE", callback=parse_text,
              help="Write lines that were not delivered into this new file, to be sent again. "
                   "It is there only if there are any.")
@click.option("-T", "--tee", is_flag=True,
              help="Copy what is sent to standard output; the summary goes to standard error.")
@click.option("--dry-run", is_flag=True,
              help="Send nothing, and ask no broker: print the records as envelopes, and the summary on standard "
                   "error.")
@click.option("-L", "--list", "listing", is_flag=True,
              help="List brokers, topics, partitions and leaders, and send nothing.")
@click.option("--timeout", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS",
              callback=parse_timeout, help="How long to look for a broker.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, whichever way the command ends.")
@click.option("-v", "--verbose", is_flag=True, help="Show what librdkafka logs.")
def produce(files: tuple[str, ...], bootstrap_servers: str | None, pairs: dict[str, str], filed: dict[str, str],
            codec: str | None, sync: bool, manual: bool, copy: bool, form: str | None, delimiter: bytes | None,
            column_separator: str | None, header_separator: bytes | None, header_key_separator: bytes | None,
            listing: bool, verbose: bool, as_json: bool,
            **given: Any) -> int:
    r"""Send each line of the FILEs as a record, without a copy: they are memory-mapped.

    Without a FILE, or for `-`, lines come from standard input, and on a terminal from whoever types there.
    A FILE that ends with .gz, .bz2, .xz or .zst is decompressed.
    TEXT may hold \n, \r, \t, \0, \\ and \xHH. A FILE that is truncated while it is being sent ends the command.
    """
    if LIST in pairs:
        say(properties_json() if as_json else properties_text())
        return 0
    if sync and manual:
        raise Misuse("--sync and --manual exclude each other")
    form = form or ("lines" if given["key_field"] is None else "json")
    check_format(form, delimiter, given)
    check_separators(form, column_separator, header_separator or header_key_separator, given)
    properties = compressed(merged(filed, pairs, bootstrap_servers), codec)
    show_logs(verbose or "debug" in properties)
    request = ProduceOptions(
        paths=files or (STDIN,), properties=properties, mode="sync" if sync else "manual" if manual else "async",
        option=SendOption.ToCopyRecordValue if copy else SendOption.NoCopyRecordValue, form=form,
        delimiter=delimiter or b"\n", column_separator=column_separator or ",",
        header_separators=(header_separator or b",", header_key_separator or b":"), as_json=as_json,
        **given)
    if listing:
        say(list_cluster(request))
        return 0
    return Run(request).run()


def check_separators(form: str, column: str | None, header: bytes | None, given: dict[str, Any]) -> None:
    """Refuse separators of what the format does not have."""
    if column is not None and form != "csv":
        raise Misuse(f"--column-separator and --format {form} exclude each other")
    if given["header_delimiter"] is None and header:
        raise Misuse("--header-separator and --header-key-separator go with --header-delimiter, which ends the headers")


def check_format(form: str, delimiter: bytes | None, given: dict[str, Any]) -> None:
    """Refuse options that say nothing in the format, and those that exclude each other."""
    if delimiter is not None and form in ("csv", "file"):
        raise Misuse(f"--delimiter and --format {form} exclude each other")
    for name in ("key_delimiter", "header_delimiter", "null_marker"):
        if given[name] is not None and form != "lines":
            raise Misuse(f"--{name.replace('_', '-')} and --format {form} exclude each other")
    if given["key_field"] is not None and form not in ("json", "csv"):
        raise Misuse(f"--key-field and --format {form} exclude each other: it is a field of json, or a column of csv")
    if given["key_field"] is not None and given["key"] is not None:
        raise Misuse("--key and --key-field exclude each other")
    if given["tee"] and given["dry_run"]:
        raise Misuse("--tee and --dry-run exclude each other")
    if given["tee"] and form == "file":
        raise Misuse("--tee and --format file exclude each other")


def wants_json() -> bool:
    """Whether the summary is wanted as JSON; as far as one can tell where the arguments could not be parsed."""
    arguments = sys.argv[1:]
    return arguments[:1] == ["produce"] and "--json" in arguments[:[*arguments, "--"].index("--")]


def say_failure(error: str | None, interrupted: bool = False) -> None:
    """The summary as JSON of a run that could not begin."""
    if wants_json():
        say(summary(Tally(), error=error, interrupted=interrupted))


def run() -> int:
    """Run the command line. Returns the exit status; raises what is not a usage error, for `__main__` to report."""
    status: int
    try:
        status = group.main(prog_name="kafkapp", standalone_mode=False) or 0
    except click.UsageError as failure:
        command = failure.ctx.command_path if failure.ctx else "kafkapp"
        message = one_line(" ".join(failure.format_message().split())).removesuffix(".")
        say_failure(message)
        note(f"{command}: {message}. See '{command} --help'.")
        status = failure.exit_code
    except click.ClickException as failure:
        message = " ".join(failure.format_message().split())
        say_failure(message)
        note(one_line(f"kafkapp: {message}"))
        status = failure.exit_code
    except Carried as carrier:
        assert carrier.__cause__ is not None
        interrupted = isinstance(carrier.__cause__, KeyboardInterrupt)
        say_failure(None if interrupted else str(carrier.__cause__), interrupted)
        raise carrier.__cause__ from None
    if lost and status < 128:
        where = STDOUT if STDOUT in lost else STDERR
        loss = lost[where]
        raise OSError(loss.errno, loss.strerror, where)
    return status
