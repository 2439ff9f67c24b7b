"""Signals of the command line: they end a run, and never lose a count."""
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupts:
    """Has SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, except while that would lose a count."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._held = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Handle the signals within the context; those that the parent process has ignored stay ignored."""
        numbers = [number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
                   if signal.getsignal(number) != signal.SIG_IGN]
        before = [(number, signal.signal(number, self._handle)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Defer signals to the end of the context."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.signal is not None:
            raise KeyboardInterrupt(self.signal)

    def hold(self) -> None:
        """Only record signals from here on: the command is ending anyway, within a limited time."""
        self._held = True

    def _handle(self, number: int, frame: object) -> None:
        self.signal = self.signal or number
        if not self._held:
            raise KeyboardInterrupt(self.signal)
