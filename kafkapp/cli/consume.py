"""`kafkapp consume`: its options, and what excludes what. The run is in `consume_run`."""
from typing import Any

import click

from kafkapp import ConsumerConfig
from kafkapp.cli.consume_formats import Pieces, by_format, envelopes, parse_format, values
from kafkapp.cli.consume_output import ArrowOutput, Descriptor, Output, TextOutput
from kafkapp.cli.consume_places import BEGINNING, END, STORED, Range, parse_range
from kafkapp.cli.consume_run import ConsumeOptions, Run
from kafkapp.cli.main import show_logs
from kafkapp.cli.options import merged, parse_bytes, parse_files, parse_pairs, parse_text, parse_timeout
from kafkapp.cli.properties import LIST, complete_pair, properties_json, properties_text
from kafkapp.cli.request import Misuse
from kafkapp.cli.streams import STDOUT, say

EPILOG = """Secrets belong into a properties file (-F): the arguments of a command can be read by others on the machine.

\b
Exit status:
  0         all that was asked for was read and written
  1         reading ended early, or what was written could not be committed; a line says why
  2         a wrong option, a topic that is not there, no broker, or the output cannot be written
  130, 143  ended by Ctrl-C or SIGTERM: what was read is written and committed
  141       nobody reads the output any more, as with `| head`"""
END_WAIT_MS = "20"          # how long a broker waits for records before it says that there are none
RESETS = {BEGINNING: "earliest", END: "latest"}


def parse_topics(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> list[str]:
    return [parse_text(context, parameter, text) or "" for text in texts]


@click.command("consume", epilog=EPILOG)
@click.argument("topics", metavar="[TOPIC]...", nargs=-1, callback=parse_topics)
@click.option("-t", "--topic", "more", metavar="TOPIC", multiple=True, callback=parse_topics,
              help="A topic, as TOPIC; may be repeated.")
@click.option("-b", "--bootstrap-servers", metavar="HOST:PORT,...", callback=parse_text,
              help="Brokers to ask first. Default: the environment's KAFKA_BOOTSTRAP_SERVERS.")
@click.option("-g", "--group", metavar="NAME", callback=parse_text,
              help="Read as a member of this consumer group, from where it stopped, and commit what was written. "
                   "Default: read all partitions, and commit nothing.")
@click.option("-X", "--property", "pairs", metavar="KEY=VALUE", multiple=True, callback=parse_pairs,
              shell_complete=complete_pair,
              help="A property of librdkafka; may be repeated. `-X list` lists them, with their defaults and meanings.")
@click.option("-F", "--properties-file", "filed", metavar="FILE", multiple=True, callback=parse_files,
              help="Properties as Java's tools read them, but UTF-8; -X and -b go above them.")
@click.option("-o", "--offset", "wanted", metavar="WHERE", multiple=True, callback=parse_range, help=(
              "Where each partition begins: beginning, end, stored (what the group has committed), an offset, -N for "
              "the last N offsets, or s@TIME for the first record of a time. e@TIME: end before that time. TIME is in "
              "milliseconds, or as 2026-11-28T12:00Z.  [default: beginning; with -g stored, else beginning]"))
@click.option("-p", "--partition", "partitions", type=click.IntRange(0, 2**31 - 1), multiple=True,
              help="Only this partition; may be repeated.  [default: all]")
@click.option("-c", "--count", type=click.IntRange(min=1), metavar="N", help="Stop after so many records.")
@click.option("-e", "--exit", "exit_at_end", is_flag=True, help="Stop at the end of all partitions.")
@click.option("-f", "--format", "form", metavar="TEXT", callback=parse_bytes, help=(
              r"Write each record so, as kcat does: %t topic, %p partition, %o offset, %T timestamp, %k key, %K its "
              r"length, %s value, %S its length, %R that in four bytes, %h headers, \n.  [default: %s\n]"))
@click.option("-J", "--json", "as_json", is_flag=True,
              help="Write each record as a JSON object on a line, which `kafkapp produce -f envelope` takes.")
@click.option("--arrow", metavar="FILE", callback=parse_text,
              help="Write an Arrow IPC stream into this new file; - is standard output. Needs pyarrow.")
@click.option("-K", "--key-delimiter", metavar="TEXT", callback=parse_bytes,
              help="Write the key too, and this between it and the value.")
@click.option("-D", "--delimiter", metavar="TEXT", callback=parse_bytes,
              help=r"Stands behind each record.  [default: \n]")
@click.option("--null-marker", metavar="TEXT", callback=parse_bytes, help="Stands for a key or value that is null.")
@click.option("-Z", "--null-text", is_flag=True, help="As --null-marker NULL.")
@click.option("--timeout", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS",
              callback=parse_timeout, help="How long to look for a broker.")
@click.option("-q", "--quiet", is_flag=True, help="Leave out the summary.")
@click.option("-v", "--verbose", is_flag=True, help="Show what librdkafka logs.")
def command(topics: list[str], more: list[str], bootstrap_servers: str | None, group: str | None,
            pairs: dict[str, str], filed: dict[str, str], wanted: Range, partitions: tuple[int, ...],
            exit_at_end: bool, as_json: bool, count: int | None, timeout: float, quiet: bool, verbose: bool,
            **given: Any) -> int:
    r"""Write the records of the TOPICs to standard output: the value of each on a line.

    All else goes to standard error. TEXT may hold \n, \r, \t, \0, \\ and \xHH.

    \b
      kafkapp consume orders -e                          the values, to the end
      kafkapp consume orders -o -5 -f '%p %o %k: %s\n'   the last five of each partition, and what follows
      kafkapp consume orders -g audit -J >> orders.json  goes on where it stopped
    """
    if LIST in pairs:
        say(properties_json(consumer=True) if as_json else properties_text(consumer=True))
        return 0
    names = list(dict.fromkeys([*topics, *more]))
    if not names:
        raise Misuse("no topic: name one, as in `kafkapp consume orders`")
    properties = merged(filed, pairs, bootstrap_servers)
    if group is not None:
        properties[ConsumerConfig.GROUP_ID] = group
    in_group = ConsumerConfig.GROUP_ID in properties
    check_group(names, in_group, bool(partitions), wanted)
    output, headers = output_of(as_json, **given)
    show_logs(verbose or "debug" in properties)
    commit = commits(properties)
    return Run(ConsumeOptions(
        topics=names, properties=reading(properties, wanted, exit_at_end), output=output, headers=headers,
        range=wanted, partitions=sorted(set(partitions)), group=in_group, commit=in_group and commit, count=count,
        exit_at_end=exit_at_end, timeout=timeout, quiet=quiet)).run()


def check_group(topics: list[str], in_group: bool, partitions: bool, wanted: Range) -> None:
    """Refuse what says nothing with a group, or without one."""
    if not in_group and wanted.start == STORED:
        raise Misuse("-o stored needs a group, whose committed offsets it means: -g NAME")
    expression = next((topic for topic in topics if topic.startswith("^")), None)
    if expression and (partitions or not in_group):
        raise Misuse(f"{expression} is an expression, which only a group's members can subscribe to: give -g NAME, and "
                     "no -p")
    if in_group and not partitions and (wanted.until is not None or wanted.given and wanted.start is None):
        raise Misuse("-g reads from where the group stopped: with it, -o may be stored, or beginning or end for where "
                     "it has not read yet; name partitions by -p, or leave out -g")


def output_of(as_json: bool, form: bytes | None, arrow: str | None, key_delimiter: bytes | None,
              delimiter: bytes | None, null_marker: bytes | None, null_text: bool) -> tuple[Output, bool]:
    """What is written, and whether the records' headers are needed for it."""
    lines = {"--key-delimiter": key_delimiter, "--delimiter": delimiter}
    nulls = {"--null-marker": null_marker, "-Z": null_text or None}
    whole = {"--json": as_json or None, "--arrow": arrow, "--format": form}
    ways = [name for name, value in whole.items() if value is not None]
    others = lines if form is not None else {**lines, **nulls} if ways else {}
    clash = ways[:2] if len(ways) > 1 else ways + [name for name, value in others.items() if value is not None][:1]
    if len(clash) > 1:
        raise Misuse(f"{clash[0]} and {clash[1]} exclude each other")
    if null_marker is not None and null_text:
        raise Misuse("--null-marker and -Z exclude each other")
    if arrow is not None:
        return ArrowOutput(arrow), True
    pieces: Pieces = values
    end, headers = delimiter or b"\n", False
    if as_json:
        pieces, headers = envelopes, True
    elif form is not None or key_delimiter is not None:
        template, columns = parse_format(form if form is not None else
                                         b"%k" + (key_delimiter or b"").replace(b"%", b"%%") + b"%s")
        pieces, headers = by_format(template, columns), b"%h" in (form or b"").replace(b"%%", b"")
        end = b"" if form is not None else end
    null = b"NULL" if null_text else null_marker or b""
    return TextOutput(Descriptor(1, STDOUT), pieces, end, null), headers


def commits(properties: dict[str, Any]) -> bool:
    """What `enable.auto.commit` says, spelled as librdkafka's."""
    text = properties.get(ConsumerConfig.ENABLE_AUTO_COMMIT, "true")
    if text.lower() not in ("true", "t", "1", "false", "f", "0"):
        raise Misuse(f"{ConsumerConfig.ENABLE_AUTO_COMMIT}: expected true or false, not {text!r}")
    return text.lower() in ("true", "t", "1")


def reading(properties: dict[str, Any], wanted: Range, exit_at_end: bool) -> dict[str, Any]:
    """The properties of the consumer: what is committed is the command's business."""
    found = {**properties, ConsumerConfig.ENABLE_AUTO_COMMIT: "false"}
    found.setdefault(ConsumerConfig.AUTO_OFFSET_RESET, "earliest")
    if wanted.start in RESETS:
        found[ConsumerConfig.AUTO_OFFSET_RESET] = RESETS[wanted.start]
    if exit_at_end or wanted.until is not None:
        found[ConsumerConfig.ENABLE_PARTITION_EOF] = "true"
        found.setdefault("fetch.wait.max.ms", END_WAIT_MS)
    return found
