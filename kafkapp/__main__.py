"""The console command `kafkapp`, also as `python -m kafkapp`: whatever goes wrong is one line and an exit status.

Layer L5. The one place where exceptions end; `python -X dev -m kafkapp` shows the traceback of those nobody thought of.
Imports neither click nor rich by itself: they are the extra `cli`, and where they are missing this says so.
"""
import io
import os
import signal
import sys
from typing import NoReturn, TextIO

EXTRA = ("click", "rich")


def main() -> NoReturn:
    """Run the command line and leave with its exit status."""
    try:
        take_standard_streams()
        from kafkapp.cli import run
        status = run()
        sys.stdout.flush()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 0
    except BaseException as failure:
        status = tell(failure)
    leave(status)


def take_standard_streams() -> None:
    """Have each of the three: a descriptor that the parent closed would be given to the next file or socket.

    What stands in its place refuses to be read or written, so that the loss is noticed.
    """
    for descriptor, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)   # gets the lowest that is free: this one
    sys.stdout, sys.stderr = writable(sys.stdout, 1), writable(sys.stderr, 2)


def writable(stream: TextIO | None, descriptor: int) -> TextIO:
    """The stream, or one for the descriptor, which no character is too strange for."""
    if stream is None:
        return open(descriptor, "w", errors="backslashreplace", closefd=False)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def tell(failure: BaseException) -> int:
    """Say in one line why the command ends; gives the exit status."""
    if isinstance(failure, KeyboardInterrupt):
        return 128 + (failure.args[0] if failure.args else signal.SIGINT)
    if isinstance(failure, BrokenPipeError):
        return 128 + signal.SIGPIPE
    if isinstance(failure, ModuleNotFoundError) and (failure.name or "").partition(".")[0] in EXTRA:
        text = f"the command needs {' and '.join(EXTRA)}: pip install 'kafkapp[cli]'"
    elif isinstance(failure, OSError) and failure.strerror:
        text = failure.strerror if failure.filename is None else f"{failure.filename}: {failure.strerror}"
    elif sys.flags.dev_mode:
        raise failure
    else:
        text = f"{type(failure).__name__}: {failure}"
    try:
        print("kafkapp:", *text.split(), file=sys.stderr, flush=True)
    except OSError:
        pass    # nowhere to say it: the status does
    return 2


def leave(status: int) -> NoReturn:
    """End the process with this status, whatever is still in the buffers of streams that take nothing."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)    # all is said: the interpreter's end is no place for a traceback
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
            status = status or 2
    sys.exit(status)


if __name__ == "__main__":
    main()
