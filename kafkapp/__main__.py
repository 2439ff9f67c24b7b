"""Entry point of `kafkapp` and `python -m kafkapp`: turns each exception into one line and an exit status.

`python -X dev -m kafkapp` shows the traceback of unexpected exceptions. Does not import click and rich itself: they are
the extra `cli`, and if they are missing a line says how to install them.
"""
import io
import os
import signal
import sys
from typing import NoReturn, TextIO

EXTRA = ("click", "rich")


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    try:
        ensure_standard_streams()
        from kafkapp.cli.main import run
        status = run()
        sys.stdout.flush()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 0
    except BaseException as failure:
        status = print_failure(failure)
    leave(status)


def ensure_standard_streams() -> None:
    """Open those of the three streams that the parent has closed: the next file or socket would get the descriptor.

    The substitute cannot be read or written, so that the loss is noticed.
    """
    for descriptor, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)   # gets the lowest free descriptor: this one
    sys.stdout, sys.stderr = writable(sys.stdout, 1), writable(sys.stderr, 2)


def writable(stream: TextIO | None, descriptor: int) -> TextIO:
    """The stream, or a new one for the descriptor, that escapes characters it cannot encode."""
    if stream is None:
        return open(descriptor, "w", errors="backslashreplace", closefd=False)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def print_failure(failure: BaseException) -> int:
    """Print in one line why the command ends. Returns the exit status."""
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
        pass    # nowhere to print it: the status tells
    return 2


def leave(status: int) -> NoReturn:
    """Exit with this status, also when what is buffered for a stream cannot be written."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)    # all is printed: no traceback while the interpreter shuts down
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
            status = status or 2
    sys.exit(status)


if __name__ == "__main__":
    main()
