"""Tools of the build scripts: errors that say what to do, output, subprocesses, the compiler, locks.

Imports only progress of ours.
"""
import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import progress

try:
    import fcntl
except ImportError:     # Windows, where all that is built here is refused
    fcntl = None

TEXT = {"encoding": "utf-8", "errors": "surrogateescape"}     # of files that name folders
COMPILERS = "gcc libc6-dev"     # Debian's packages
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
SEATS = threading.BoundedSemaphore(CORES)   # one for each running compiler, whichever part of the build started it
LOCKED = set()                  # by this process
HALTED = threading.Event()      # another part of the build has failed: start nothing more


class BuildError(Exception):
    """The build cannot continue; the text says what to do."""


class Unreachable(BuildError):
    """A source could not be fetched; the next one may work."""


def say(text):
    for line in text.splitlines():
        progress.line(f"kafkapp: {line}")


def run(*command, timeout=None, **options):
    """The output of a command; shown only if it fails."""
    if HALTED.is_set():
        raise BuildError("stopped because another part of the build failed")
    try:
        return subprocess.run(command, check=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, **options).stdout
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{shlex.join(map(str, command[:6]))} did not finish within {timeout} seconds") from error
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{shlex.join(map(str, command[:6]))} failed:\n{error.stdout[-4000:]}") from error


def words(text, where):
    """The words of a text, split by a shell's rules."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise BuildError(f"{where} cannot be read ({error}): {text.strip()}") from error


def variable(name, default=""):
    """The words of an environment variable."""
    return words(os.environ.get(name, ""), f"the environment variable {name}") or words(default, name)


def compiler():
    """The C compiler with its arguments, from CC or from PATH, after it has compiled a small program."""
    command = variable("CC", "gcc" if shutil.which("gcc") else "cc")
    if not shutil.which(command[0]):
        raise BuildError(f"{command[0]} is needed to build kafkapp and is missing "
                         f"(Debian: apt-get install {COMPILERS})")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "works.c")
        file.write_text("#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n")
        try:
            run(*command, str(file), "-o", str(Path(folder, "works")))
        except BuildError as error:
            raise BuildError(f"{shlex.join(command)} cannot compile a small C program: install a working compiler "
                             f"(Debian: apt-get install {COMPILERS}) and check the space in {folder}\n"
                             f"{error}") from error
    return command


@contextlib.contextmanager
def lock(folder):
    """One build at a time in a folder. The folder itself is locked, so no lock file is left."""
    folder = Path(folder).absolute()
    if folder in LOCKED or fcntl is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another build is running in {folder}: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:     # a file system without locks
            pass
        LOCKED.add(folder)
        yield
    finally:
        LOCKED.discard(folder)
        os.close(descriptor)


def replace(source, target):
    """Copy a file to where another may be, which a running program may have open: that one keeps what it has."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, f"{target}.part")
    os.replace(f"{target}.part", target)


def have_room(folder):
    """Put temporary files below this folder if the machine's own folder for them is full."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(1 << 20))
            file.flush()
    except OSError:
        own = Path(folder, "tmp").absolute()
        own.mkdir(parents=True, exist_ok=True)
        os.environ["TMPDIR"], tempfile.tempdir = str(own), None


@contextlib.contextmanager
def one_line():
    """End the build with one line instead of a traceback for errors that the machine causes."""
    try:
        yield
    except BuildError as error:
        raise SystemExit(f"kafkapp: {error}") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise SystemExit(f"kafkapp: {where}{error.strerror or error}") from error
