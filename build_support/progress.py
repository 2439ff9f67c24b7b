"""Progress of the build: lines on standard error, and one line that is overwritten on a terminal where pip hides those.

pip shows no output of a build and leaves the cursor behind `Building wheel ... -`: that line is overwritten, and pip's
next sign follows ours. Only if pip's own output is that terminal, pip was not asked to be verbose, and this is not CI;
everywhere else the lines are enough. Imports nothing of ours.
"""
import os
import re
import sys
import threading
import time

MOST_OFTEN = 0.2    # seconds


class Progress:
    """Counts steps of several kinds, weighted by the time that each takes."""

    def __init__(self):
        self.lock = threading.Lock()
        self.kinds = {}         # {name: [done, of, seconds each]}
        self.best = 0.0         # the part that is done, as last reported
        self.shown = 0.0
        self.terminal = None
        self.width = 80

    def expect(self, kind, steps, seconds):
        with self.lock:
            done, of, _ = self.kinds.get(kind, (0, 0, 0))
            self.kinds[kind] = [done, of + steps, seconds]

    def step(self, kind):
        with self.lock:
            self.kinds[kind][0] += 1
            before, self.best = self.best, max(self.best, self.part())
            part = self.best
            now = time.monotonic()
            if self.terminal is not None and (now - self.shown > MOST_OFTEN or part == 1):
                self.shown = now
                self.show(f"  kafkapp: {self.text(part)} ...")
        if int(10 * part) > int(10 * before):
            line(f"kafkapp: {self.text(part)}")

    def part(self):
        whole = sum(of * seconds for _, of, seconds in self.kinds.values())
        return sum(done * seconds for done, _, seconds in self.kinds.values()) / whole if whole else 0

    def text(self, part):
        counts = ", ".join(f"{kind} {done} of {of}" for kind, (done, of, _) in self.kinds.items())
        return f"{int(100 * part)} % built: {counts}"

    def show(self, text):
        """Overwrite the current line; the last blank is where pip erases its next sign."""
        if foreground(self.terminal):
            write(self.terminal, "\r\x1b[K" + text[:self.width - 4] + "  ")


PROGRESS = Progress()


def begin():
    """Find the terminal on which pip hides our output."""
    if PROGRESS.terminal is None and (terminal := hidden_terminal()) is not None:
        PROGRESS.terminal = terminal
        try:
            PROGRESS.width = os.get_terminal_size(terminal).columns or 80
        except OSError:
            pass


def line(text):
    print(text, file=sys.stderr, flush=True)
    with PROGRESS.lock:
        if PROGRESS.terminal is not None and not PROGRESS.kinds:
            PROGRESS.show(f"  {text} ...")


def hidden_terminal():
    """A descriptor of the controlling terminal, where our own standard error does not reach it; else None."""
    if os.name != "posix" or os.environ.get("CI") or os.environ.get("TERM", "dumb") == "dumb" or sys.stderr.isatty():
        return None
    try:
        return None if quiet_parent() else os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY)
    except OSError:     # no terminal at all
        return None


def quiet_parent():
    """Whether the parent process shows our output itself, or writes to no terminal."""
    parent = f"/proc/{os.getppid()}"
    try:
        with open(f"{parent}/cmdline", "rb") as file:
            arguments = file.read().split(b"\0")[1:]
        if any(re.fullmatch(rb"--verbose|-\w*v\w*", word) for word in arguments):
            return True
        output = os.open(f"{parent}/fd/1", os.O_WRONLY | os.O_NOCTTY)
    except OSError:     # no /proc: assume that the terminal is visible
        return False
    try:
        return not os.isatty(output)
    finally:
        os.close(output)


def foreground(terminal):
    """Whether we may write: a background job would be stopped."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False


def write(terminal, text):
    try:
        os.write(terminal, text.encode(errors="replace"))
    except OSError:
        pass
