"""How many records may be sent, and how fast: `--count`, `--rate`, and the end that a failure makes."""
import math
import time
from collections.abc import Callable

BURST_SECONDS = 0.1     # of records that a pause has left behind go out at once


class Limits:
    """Asked for room before records are sent, and told afterwards how many they were.

    Args:
        count: no more records than these; None: any number.
        rate: records a second; None: as fast as possible.
        stopped: whether nothing may be sent any more.
    """

    def __init__(self, count: int | None = None, rate: float | None = None,
                 stopped: Callable[[], bool] = lambda: False) -> None:
        self._left = math.inf if count is None else count
        self._rate = rate
        self.stopped = stopped
        self._next = time.monotonic()   # when the next record is due

    @property
    def over(self) -> bool:
        """Whether no record may be sent any more."""
        return self._left <= 0 or self.stopped()

    def room(self, most: int = 1) -> int:
        """How many records may be sent now, at most `most`; blocks until one is due. 0: none any more."""
        if self.over:
            return 0
        if self._rate is None:
            return int(min(most, self._left))
        while (wait := self._next - time.monotonic()) > 0:
            time.sleep(min(wait, BURST_SECONDS))    # in slices: a failure may end it
            if self.over:
                return 0
        self._next = max(self._next, time.monotonic() - BURST_SECONDS)
        due = 1 + int((time.monotonic() - self._next) * self._rate)
        return int(min(most, self._left, due))

    def spend(self, count: int) -> None:
        """Tell that so many records have been sent."""
        self._left -= count
        if self._rate is not None:
            self._next += count / self._rate
