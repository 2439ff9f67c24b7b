"""Causes: what the client says of its connections, told on standard error while nothing goes on, and in the summary."""
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kafkapp import Error, ErrorCode
from kafkapp.cli.streams import note
from kafkapp.common.texts import one_line
from kafkapp.config.redaction import redact

CHECK_SECONDS = 1.0         # without a delivery, until the cause is printed
REPEAT_SECONDS = 30.0       # until it is printed once more
# Failures that have a cause elsewhere.
CONSEQUENCES = frozenset(code.name for code in (
    ErrorCode.RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, ErrorCode.RD_KAFKA_RESP_ERR__TIMED_OUT,
    ErrorCode.RD_KAFKA_RESP_ERR__TRANSPORT, ErrorCode.RD_KAFKA_RESP_ERR__PURGE_QUEUE,
    ErrorCode.RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, ErrorCode.RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN))


class Causes:
    """The last error of the client that says something."""

    def __init__(self, properties: dict[str, Any]) -> None:
        self.error: Error | None = None
        self._properties = properties
        self._fresh: tuple[str, int] | None = None      # the last one's text, and how many were delivered by then
        self._delivered: Callable[[], int] = lambda: 0
        self._end = threading.Event()

    def on_error(self, error: Error) -> None:
        """The client's error_cb; any thread."""
        if error.code != ErrorCode.RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
            self.error = error
            self._fresh = self._text(error), self._delivered()

    def of(self, failures: Iterable[str]) -> str | None:
        """The cause of failures with these codes, if the client has told one."""
        if self.error is None or CONSEQUENCES.isdisjoint(failures):
            return None
        return self._text(self.error)

    def _text(self, error: Error) -> str:
        text = re.sub(r" \(after \d+ms in state .*\)$", "", error.message)      # another one at each time
        return one_line(redact(text, self._properties))

    @contextmanager
    def told(self, waiting: Callable[[], bool], delivered: Callable[[], int]) -> Iterator[None]:
        """Within the context, tell the cause whenever nothing is delivered for a second.

        librdkafka tells it once: its later errors are suppressed where they are the same.

        Args:
            waiting: whether there is anything to wait for.
            delivered: how many records have been.
        """
        thread = threading.Thread(target=self._watch, args=(waiting, delivered), name="kafkapp-causes", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()

    def _watch(self, waiting: Callable[[], bool], delivered: Callable[[], int]) -> None:
        last, told_at = None, 0.0
        self._delivered = delivered
        while not self._end.wait(CHECK_SECONDS):
            text, then = self._fresh or (None, 0)
            if then != delivered():
                continue        # it goes on since that error, which is over
            if text is not None and waiting() and (text != last or time.monotonic() - told_at >= REPEAT_SECONDS):
                last, told_at = text, time.monotonic()
                note(f"waiting: {text}")
