"""Command `kafkapp produce`: connects, sends every file, waits for the delivery reports, prints the summary.

Knows no spelling of options, and leaves splitting files and counting reports to other modules.
"""
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import click

from kafkapp import Error, ErrorCode, KafkaException, ProducerConfig, ProducerRecord, SendOption
from kafkapp.cli.input import STDIN, FatalError, Job, check_readable, send_file, send_text, watch_for_truncation
from kafkapp.cli.modes import MODES, Mode, SyncMode
from kafkapp.cli.signals import Interrupts
from kafkapp.cli.streams import note, say
from kafkapp.cli.tally import Tally, progress_bar
from kafkapp.common.texts import one_line
from kafkapp.config.redaction import redact

INTERRUPTED_CLOSE_SECONDS = 1.0  # for the records in flight after Ctrl-C
PROMPT = "Type message value and hit enter to produce message. (empty line to quit)"
SERVERS = (ProducerConfig.BOOTSTRAP_SERVERS, "metadata.broker.list", "test.mock.num.brokers")
ENVIRONMENT = "KAFKA_BOOTSTRAP_SERVERS"
UNREACHABLE = frozenset((
    ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT, ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT,
    ErrorCode.RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, ErrorCode.RD_KAFKA_RESP_ERR__RESOLVE,
    ErrorCode.RD_KAFKA_RESP_ERR__AUTHENTICATION, ErrorCode.RD_KAFKA_RESP_ERR__SSL))


class Misuse(click.ClickException):
    """A usage error that is found after the options have been parsed."""

    exit_code = 2


@dataclass
class ProduceOptions:
    """The parsed options."""

    paths: tuple[str, ...]
    topic: str | None
    properties: dict[str, Any]
    embedded: bool
    mode: str
    option: SendOption
    delimiter: bytes
    key_delimiter: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None
    null_empty: bool
    timeout: float
    as_json: bool


@dataclass
class Run:
    """One run of the command; `run` does all of it and returns the exit status."""

    request: ProduceOptions
    tally: Tally = field(default_factory=Tally)
    interrupts: Interrupts = field(default_factory=Interrupts)
    end_reason: str = ""  # why the run ended early, except for Ctrl-C
    status: int = 0  # exit status for that reason
    client_error: Error | None = None  # the last one other than RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN

    def run(self) -> int:
        sizes = self._check_files()
        watch_for_truncation()
        with self.interrupts.watched(), ExitStack() as stack:
            self._find_servers(stack)
            mode = self._open_mode()
            if self.request.embedded:  # after the producer is created: an invalid property prints one line only
                note("using an embedded cluster at "
                     f"{self.request.properties[ProducerConfig.BOOTSTRAP_SERVERS]}; "
                     "its records are gone when this command ends")
            stack.callback(mode.close, 0)  # closes it if an exception is raised before the close below
            try:
                self._check_broker(mode)
                with self._progress(sizes) as advance:
                    self._send_files(mode, sizes, advance)
                    mode.drain()
            except KeyboardInterrupt:
                if self.interrupts.signal is None:
                    raise
            self.interrupts.hold()
            mode.close(INTERRUPTED_CLOSE_SECONDS if self.interrupts.signal or self.end_reason else None)
            self.tally.stop()
            self.tally.unreported = mode.unreported
        self._print_results()
        return self._exit_status()

    def _check_files(self) -> list[int | None]:
        sizes = []
        for path in self.request.paths:
            try:
                sizes.append(check_readable(path))
            except OSError as failure:
                raise Misuse(f"{file_label(path)}: {failure.strerror}") from None
        return sizes

    def _find_servers(self, stack: ExitStack) -> None:
        properties = self.request.properties
        given = next((name for name in SERVERS if name in properties), None)
        if self.request.embedded:
            if given is not None:
                raise Misuse(f"--embedded and brokers ({given}) exclude each other")
            from kafkapp.testing import MockCluster
            cluster = stack.enter_context(MockCluster(1))
            properties[ProducerConfig.BOOTSTRAP_SERVERS] = cluster.bootstrap_servers
            return
        if given is None:
            servers = os.environ.get(ENVIRONMENT)
            if not servers:
                raise Misuse(f"no brokers: name them by -b HOST:PORT or in the environment's {ENVIRONMENT}; "
                             "--embedded sends to an embedded cluster, for a try")
            properties[ProducerConfig.BOOTSTRAP_SERVERS] = servers
        if self.request.topic is None:
            raise Misuse("no topic: name it by -t")  # a topic named by accident would be created in earnest

    def _open_mode(self) -> Mode:
        properties = {"error_cb": self._on_client_error, **self.request.properties}
        try:
            return MODES[self.request.mode](properties, self.interrupts)
        except (KafkaException, TypeError, ValueError) as failure:
            raise Misuse(message_of(failure)) from None  # librdkafka's text, without secrets

    def _on_client_error(self, error: Error) -> None:
        if error.code != ErrorCode.RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
            self.client_error = error

    def _check_broker(self, mode: Mode) -> None:
        request = self.request
        topic = request.topic or topic_for(request.paths[0])
        try:
            mode.metadata(topic, request.timeout)
        except KafkaException as failure:
            error = failure.error
            if error.code in UNREACHABLE:
                servers = next(str(value) for name in SERVERS if (value := request.properties.get(name)))
                reason = self.client_error or error
                raise Misuse(redact(f"no broker reachable at {servers} within {request.timeout:g} s: {reason.message}",
                                    request.properties)) from None
            if error.code < 0:
                raise Misuse(f"topic {topic}: {error.message}") from None
            # A broker's error of the topic is left to the records: the topic may just be created.

    def _progress(self, sizes: list[int | None]) -> AbstractContextManager[Callable[[int], None]]:
        self.tally.start()
        if not os.isatty(2) or self._is_session():
            return nullcontext(lambda done: None)
        return progress_bar(self.tally, None if None in sizes else sum(size or 0 for size in sizes))

    def _is_session(self) -> bool:
        return STDIN in self.request.paths and os.isatty(0)

    def _send_files(self, mode: Mode, sizes: list[int | None], advance: Callable[[int], None]) -> None:
        before = 0
        for path, size in zip(self.request.paths, sizes, strict=True):
            try:
                self._send_one(mode, path, partial(advance_total, advance, before))
            except FatalError as failure:
                self._end_early(1, f"stopped: {failure}")
                return
            except OSError as failure:
                self._end_early(2, f"{file_label(path)}: {failure.strerror or failure}")
                return
            before += size or 0

    def _send_one(self, mode: Mode, path: str, advance: Callable[[int], None]) -> None:
        request, name = self.request, file_label(path)
        topic = request.topic
        if topic is None:
            topic = topic_for(path)
            note(f"no --topic: {name} goes to topic {topic}")
        report = self.tally.reporter(name, topic)
        record = ProducerRecord(topic, request.partition, headers=request.headers or None)
        job = Job(mode.send, record, report, lambda line, error: self.tally.failed(name, line, error), advance,
                  request.delimiter, request.key_delimiter, request.null_empty, request.option)
        if path == STDIN and os.isatty(0):
            self._run_session(mode, job)
            return
        if not isinstance(mode, SyncMode):
            report_batch = self.tally.batch_reporter(name, topic)
            job.send_batch = lambda lines, first: mode.send_batch(lines, record, partial(report_batch, first),
                                                                    request.option)
        send_file(job, path)

    def _run_session(self, mode: Mode, job: Job) -> None:
        """Session on a terminal: sends the typed lines, prints the delivery reports as they come."""
        results = self.request.as_json  # standard output is for the JSON then

        def report(metadata: Any, error: Error | None) -> None:
            count(metadata, error)
            if error is None:
                say(f"Message delivered: {metadata}", err=results)
            else:
                failed(error)

        def refused(line: int, error: Error) -> None:
            count_refused(line, error)
            failed(error)

        def failed(error: Error) -> None:
            say(click.style(f"Message failed to be delivered: {one_line(error.message)}", fg="red"), err=results)

        count, count_refused = job.report, job.refused
        job.report, job.refused = report, refused
        say(PROMPT, err=results)
        while text := sys.stdin.buffer.readline().rstrip(b"\n"):
            send_text(job, text)
            if self.request.mode == "manual":
                mode.drain()

    def _end_early(self, status: int, end_reason: str) -> None:
        self.status, self.end_reason = status, end_reason

    def _exit_status(self) -> int:
        if self.interrupts.signal:
            return 128 + self.interrupts.signal
        return self.status or (1 if self.tally.undelivered else 0)

    def _print_results(self) -> None:
        signal = self.interrupts.signal
        if self.request.as_json:
            say(json.dumps({
                **self.tally.as_dict(), "interrupted": bool(signal), "error": self.end_reason or None,
                "embedded": self.request.embedded}))
        else:
            say(self.tally.as_text())
            if failures := self.tally.failures_text():
                note(failures)
        if self.end_reason:
            note(one_line(f"kafkapp: {self.end_reason}"))
        if signal:
            note("interrupted: the records that were not sent yet are not sent")


def advance_total(advance: Callable[[int], None], before: int, done: int) -> None:
    """Advance the progress over all files; `before`: bytes of the files before this one."""
    advance(before + done)


def message_of(failure: BaseException) -> str:
    return failure.error.message if isinstance(failure, KafkaException) else str(failure)


def file_label(path: str) -> str:
    return "standard input" if path == STDIN else path


def topic_for(path: str) -> str:
    """A legal topic named after a file."""
    if path == STDIN:
        return "stdin"
    name = re.sub(r"[^a-zA-Z0-9._-]", "_", os.path.basename(path))[:249]
    return name if name.strip(".") else "_"
