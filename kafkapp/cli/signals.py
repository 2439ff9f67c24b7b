"""Signals of the command line: they end a run, and never lose a count."""
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interrupts:
    """Has SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, except while that would lose a count."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._held = False
        self._patience = 0.0    # seconds
        self._then: Callable[[], None] = lambda: None
        self._before: list[tuple[int, Any]] = []    # handlers

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Handle the signals within the context; those that the parent process has ignored stay ignored."""
        numbers = [number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
                   if signal.getsignal(number) != signal.SIG_IGN]
        self._before = [(number, signal.signal(number, self._handle)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in self._before:
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

    def be_patient(self, seconds: float, then: Callable[[], None]) -> None:
        """From here on the run looks at `signal` itself, to end between two steps. The first signal calls `then`.

        Raises only where a step lasts for so long after the first signal, or at a second one.
        """
        self._then = then
        self._before.append((signal.SIGALRM, signal.signal(signal.SIGALRM, self._handle)))
        self._patience = seconds

    def hold(self) -> None:
        """Only record signals from here on: the command is ending anyway, within a limited time."""
        self._held = True
        if self._patience:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _handle(self, number: int, frame: object) -> None:
        first = self.signal is None
        if first:
            self.signal = number
        if self._held:
            return
        if first and self._patience:
            self._then()
            signal.setitimer(signal.ITIMER_REAL, self._patience)
        else:
            raise KeyboardInterrupt(self.signal)
