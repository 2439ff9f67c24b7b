"""`kafkapp mock-cluster`: an embedded cluster for other programs, until Ctrl-C or the end of one that it runs."""
import os
import signal
import subprocess
from collections.abc import Iterable
from types import FrameType

import click

from kafkapp.cli.streams import lost, say
from kafkapp.testing import MockCluster
from kafkapp.testing.arguments import MAX_BROKERS, MAX_PARTITIONS

VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
PARTITIONS = 4
END_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def parse_topics(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, int]:
    topics: dict[str, int] = {}
    for text in texts:
        name, colon, number = text.partition(":")
        good = name.isprintable() and 1 <= len(name) <= 249
        if not good or colon and not (number.isascii() and number.isdecimal()):
            raise click.BadParameter("expected NAME or NAME:PARTITIONS")
        partitions = int(number) if colon else PARTITIONS
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise click.BadParameter(f"{name} must have 1 to {MAX_PARTITIONS} partitions")
        if name in topics:
            raise click.BadParameter(f"{name} is given twice")
        topics[name] = partitions
    return topics


@click.command("mock-cluster", context_settings={"allow_interspersed_args": False})
@click.option("--brokers", type=click.IntRange(min=1, max=MAX_BROKERS), default=1, show_default=True, metavar="N",
              help="How many brokers.")
@click.option("-t", "--topic", "topics", metavar="NAME[:PARTITIONS]", multiple=True, callback=parse_topics,
              help=f"A topic that is there from the start, with {PARTITIONS} partitions if it does not say how many; "
                   "may be repeated. Any other is created when a client asks for it.")
@click.option("--exec", "runs", is_flag=True,
              help=f"Run COMMAND with {VARIABLE} in its environment; end when it ends, with its exit status.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def command(brokers: int, topics: dict[str, int], runs: bool, command: tuple[str, ...]) -> int:
    """Run an embedded cluster for other programs, until Ctrl-C.

    Its bootstrap servers are printed on one line, as host:port,host:port. It keeps records in memory only.

    The ports are free ones that librdkafka chooses; it cannot be asked for others. A program finds them by --exec:

    \b
      kafkapp mock-cluster --topic orders:6 --exec pytest -q
    """
    if runs != bool(command):
        raise click.UsageError("--exec needs a COMMAND" if runs else f"Got unexpected extra argument ({command[0]})")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)  # before any thread starts: for this one alone
    with MockCluster(brokers) as cluster:
        for name, partitions in topics.items():
            cluster.create_topic(name, partitions)
        if runs:
            return run(command, cluster.bootstrap_servers, before)
        say(cluster.bootstrap_servers)
        if not lost:
            signal.sigwait(END_SIGNALS)
    return 0


def run(command: tuple[str, ...], bootstrap_servers: str, mask: Iterable[int]) -> int:
    """Run a program. Returns its exit status, or 128 + n when signal n has ended it."""
    pending: list[int] = []
    started: list[subprocess.Popen[bytes]] = []

    def end(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            return      # from a terminal, which has sent it to the program too
        pending.append(number)
        for process in started:
            process.send_signal(number)

    for number in END_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:      # which the program inherits
            signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)            # so is this
    with subprocess.Popen(command, env={**os.environ, VARIABLE: bootstrap_servers}) as process:
        started.append(process)
        if pending:
            process.send_signal(pending[0])
        status = process.wait()
    return status if status >= 0 else 128 - status
