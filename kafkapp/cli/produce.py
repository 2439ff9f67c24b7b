"""Command `kafkapp produce`: connects, sends every file, waits for the delivery reports, prints the summary.

Knows no spelling of options, and leaves splitting files and counting reports to other modules.
"""
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any

from kafkapp import KafkaException, ProducerConfig, ProducerRecord
from kafkapp.cli.causes import Causes
from kafkapp.cli.compressed import check_module
from kafkapp.cli.csv_rows import csv_rows
from kafkapp.cli.delimited import delimited
from kafkapp.cli.dry_run import DryMode
from kafkapp.cli.formats import BadInput, Format, envelopes, json_lines
from kafkapp.cli.input import STDIN, FatalError, Job, check_readable, send_file, send_whole, watch_for_truncation
from kafkapp.cli.limits import Limits
from kafkapp.cli.modes import MODES, AsyncMode, ManualMode, Mode
from kafkapp.cli.rejects import LineId, Rejects
from kafkapp.cli.request import (
    SERVERS,
    UNREACHABLE,
    Misuse,
    ProduceOptions,
    file_label,
    message_of,
    require_servers,
    topic_for,
)
from kafkapp.cli.session import run_session
from kafkapp.cli.signals import Interrupts
from kafkapp.cli.streams import note, say, say_bytes
from kafkapp.cli.summary import summary
from kafkapp.cli.tally import Tally, progress_bar
from kafkapp.common.texts import one_line
from kafkapp.config.redaction import redact

INTERRUPTED_CLOSE_SECONDS = 1.0  # for the records in flight after Ctrl-C

class Run:
    """One run of the command; `run` does all of it and returns the exit status."""

    def __init__(self, request: ProduceOptions) -> None:
        self.request = request
        self.tally = Tally()
        self.interrupts = Interrupts()
        self.causes = Causes(request.properties)
        self.rejects: Rejects | None = None
        self.limits = Limits(request.count, request.rate, self._is_stopped)
        self.end_reason = ""  # why the run ended early, except for Ctrl-C
        self.status = 0  # exit status for that reason
        self.connecting = True

    def run(self) -> int:
        sizes = self._check_files()
        watch_for_truncation()
        with self.interrupts.watched(), ExitStack() as stack:
            self._find_servers(stack)
            self._open_rejects(stack)
            mode = self._open_mode()
            if self.request.embedded:  # after the producer is created: an invalid property prints one line only
                note("using an embedded cluster at "
                     f"{self.request.properties.get(ProducerConfig.BOOTSTRAP_SERVERS, '(none: a dry run)')}; "
                     "its records are gone when this command ends")
            stack.callback(mode.close, 0)  # closes it if an exception is raised before the close below
            try:
                with self.causes.told(lambda: self.connecting or mode.outstanding() > 0, lambda: self.tally.delivered):
                    self._check_broker(mode)
                    self.connecting = False
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
            self._close_rejects(mode)
        self._print_results()
        return self._exit_status()

    def _is_stopped(self) -> bool:
        """Whether nothing more may be sent, after what has happened so far."""
        if self.rejects is not None and self.rejects.failure is not None:
            return True
        return self.request.fail_fast and bool(self.tally.codes)

    def _check_files(self) -> list[int | None]:
        sizes = []
        for path in self.request.paths:
            try:
                sizes.append(check_readable(path))
                check_module(path)
            except OSError as failure:
                raise Misuse(f"{file_label(path)}: {failure.strerror}") from None
            except BadInput as failure:
                raise Misuse(f"{file_label(path)}: {failure}") from None
        return sizes

    def _find_servers(self, stack: ExitStack) -> None:
        request = self.request
        if request.embedded:
            if given := next((name for name in SERVERS if name in request.properties), None):
                raise Misuse(f"--embedded and brokers ({given}) exclude each other")
            if not request.dry_run:
                from kafkapp.testing import MockCluster
                cluster = stack.enter_context(MockCluster(1))
                request.properties[ProducerConfig.BOOTSTRAP_SERVERS] = cluster.bootstrap_servers
            return
        if not request.dry_run:
            require_servers(request.properties)
        if request.topic is None:
            raise Misuse("no topic: name it by -t")  # a topic named by accident would be created in earnest

    def _open_rejects(self, stack: ExitStack) -> None:
        request = self.request
        if request.rejects is None:
            return
        try:
            self.rejects = Rejects(request.rejects, b"\n" if request.form in ("csv", "file") else request.delimiter)
        except OSError as failure:
            raise Misuse(f"--rejects {request.rejects}: {failure.strerror}") from None
        except BadInput as failure:
            raise Misuse(f"--rejects {failure}") from None
        stack.callback(self.rejects.close)      # if an exception is raised before the close of the run
        self.tally.on_failure = self.rejects.add

    def _close_rejects(self, mode: Mode | DryMode) -> None:
        if self.rejects is None:
            return
        if mode.unreported:
            self.rejects.add(mode.pending)      # nobody knows: rather twice than never
        if self.rejects.failure is not None:
            self._end_early(2, f"{self.rejects.path}: {self.rejects.failure.strerror}")
        self.rejects.close()

    def _open_mode(self) -> Mode | DryMode:
        if self.request.dry_run:
            return DryMode()
        properties = {"error_cb": self.causes.on_error, **self.request.properties}
        try:
            return MODES[self.request.mode](properties, self.interrupts)
        except (KafkaException, TypeError, ValueError) as failure:
            raise Misuse(message_of(failure)) from None  # librdkafka's text, without secrets

    def _check_broker(self, mode: Mode | DryMode) -> None:
        request = self.request
        topic = request.topic or topic_for(request.paths[0])
        try:
            mode.metadata(topic, request.timeout)
        except KafkaException as failure:
            error = failure.error
            if error.code in UNREACHABLE:
                servers = require_servers(request.properties)
                reason = self.causes.error or error
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

    def _send_files(self, mode: Mode | DryMode, sizes: list[int | None], advance: Callable[[int], None]) -> None:
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
            except BadInput as failure:
                self._end_early(2, f"{file_label(path)}: {failure}")
                return
            if self._is_stopped() and not self.end_reason:
                self._end_early(1, "stopped after a failure: the lines behind it are not sent")
            if self.limits.over:
                return
            before += size or 0

    def _send_one(self, mode: Mode | DryMode, path: str, advance: Callable[[int], None]) -> None:
        request, name = self.request, file_label(path)
        topic = request.topic
        if topic is None:
            topic = topic_for(path)
            note(f"no --topic: {name} goes to topic {topic}")
        report = self.tally.reporter(name, topic)
        record = ProducerRecord(topic, request.partition, key=request.key, headers=request.headers or None)
        job = Job(mode.send, record, report, partial(self._count, self.tally.failed, name), advance,
                  request.delimiter, request.key_delimiter, request.null_empty, request.option, key=request.key,
                  form=self._format(), invalid=partial(self._count, self.tally.invalid, name), limits=self.limits,
                  keep=self.rejects is not None, tee=say_bytes if request.tee else None)
        if request.form == "file":
            send_whole(job, path)
            return
        if path == STDIN and os.isatty(0):
            run_session(job, mode.drain if request.mode == "manual" else int, self._is_stdout_taken())
            return
        if isinstance(mode, (AsyncMode, ManualMode)):
            report_batch = self.tally.batch_reporter(name, topic, len(request.key or b""))
            send_batch = mode.send_batch
            job.send_batch = lambda lines, origin: send_batch(lines, record, partial(report_batch, origin),
                                                              request.option)
        send_file(job, path)

    def _count(self, count: Callable[[str, LineId, Any], None], *failure: Any) -> None:
        """Count a line that is not sent, and have it written: a signal in the midst would lose it."""
        with self.interrupts.held():
            count(*failure)

    def _format(self) -> Format | None:
        """Makes the records of one file; None: lines as they are cut."""
        request = self.request
        if request.form == "json":
            return json_lines(request.key_field, request.key)
        if request.form == "envelope":
            return envelopes(request.key)
        if request.form == "csv":
            return csv_rows(request.column_separator, request.key_field, request.key,
                            self.rejects.begin if self.rejects else None)
        if request.header_delimiter or request.null_marker is not None or (request.key_delimiter and request.key):
            return delimited(request.header_delimiter, request.header_separators, request.key_delimiter, request.key,
                             request.null_marker)
        return None

    def _is_stdout_taken(self) -> bool:
        """Whether results go to standard error, because standard output is for something else."""
        return self.request.as_json or self.request.tee or self.request.dry_run

    def _end_early(self, status: int, end_reason: str) -> None:
        self.status, self.end_reason = status, end_reason

    def _exit_status(self) -> int:
        if self.interrupts.signal:
            return 128 + self.interrupts.signal
        return self.status or (1 if self.tally.undelivered else 0)

    def _print_results(self) -> None:
        request, signal = self.request, self.interrupts.signal
        elsewhere = request.tee or request.dry_run
        cause = self.causes.of(self.tally.codes)
        rejects = self.rejects
        if request.as_json:
            say(summary(self.tally, interrupted=bool(signal), error=self.end_reason or None, cause=cause,
                        embedded=request.embedded, dry_run=request.dry_run,
                        rejects={"file": rejects.path, "lines": rejects.count} if rejects and rejects.count else None),
                err=elsewhere)
        else:
            say(self.tally.as_text(request.dry_run), err=elsewhere)
            if failures := self.tally.failures_text():
                note(failures)
            if cause:
                note(f"cause: {cause}")
            if rejects and rejects.count:
                note(f"{rejects.count:,} failed lines are in {rejects.path}")
        if self.end_reason:
            note(one_line(f"kafkapp: {self.end_reason}"))
        if signal:
            note("interrupted: the records that were not sent yet are not sent")


def advance_total(advance: Callable[[int], None], before: int, done: int) -> None:
    """Advance the progress over all files; `before`: bytes of the files before this one."""
    advance(before + done)
