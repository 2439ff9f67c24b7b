"""Python.h for a Python without it, as Debian's: the package that holds it, unpacked beside the build.

Used by the build of the package only. Needs apt-get, as Debian has it, and no rights: nothing is installed.
"""
import os
import pwd
import subprocess
import sys
import sysconfig
from pathlib import Path


def include_dirs(build="build"):
    """The include folders to add: none if this Python has its headers."""
    if (Path(sysconfig.get_path("include", vars=_base())) / "Python.h").exists():
        return []
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    package, root = f"libpython{version}-dev", Path(build).absolute() / f"python{version}-headers"
    include = root / "usr" / "include"
    if not (include / f"python{version}" / "Python.h").exists():
        print(f"kafkapp: this Python has no Python.h: fetching Debian's {package}, without installing it",
              file=sys.stderr, flush=True)
        try:
            _unpack(package, root)
        except (OSError, subprocess.CalledProcessError, StopIteration) as error:
            raise SystemExit(f"kafkapp: this Python has no Python.h, and {package} could not be fetched ({error}): "
                             "install Python's headers (Debian: apt-get install python3-dev)") from error
    return [str(include / f"python{version}"), str(include)]


def _base():
    """The prefix of the Python behind a virtual environment: its headers are there, if anywhere."""
    return {"base": sys.base_prefix, "installed_base": sys.base_prefix}


def _unpack(package, root):
    """Ask the machine's apt, with lists of our own when its are missing or old."""
    state, debs = root / "apt", root / "debs"
    for folder in (state / "lists" / "partial", state / "cache" / "archives" / "partial", debs):
        folder.mkdir(parents=True, exist_ok=True)
    apt = ["apt-get", "-q", "-o", "APT::Sandbox::User=" + _user(), "-o", f"Dir::Cache={state / 'cache'}"]
    own = [*apt, "-o", f"Dir::State={state}", "-o", f"Dir::State::Lists={state / 'lists'}",
           "-o", "Dir::State::Status=/var/lib/dpkg/status", "-o", "Acquire::Languages=none"]
    if _run([*apt, "download", package], debs, check=False).returncode != 0:
        _run([*own, "update"], debs)
        _run([*own, "download", package], debs)
    _run(["dpkg-deb", "-x", str(next(debs.glob("*.deb"))), str(root)], debs)


def _user():
    return pwd.getpwuid(os.getuid()).pw_name


def _run(command, folder, check=True):
    return subprocess.run(command, cwd=folder, check=check, stdin=subprocess.DEVNULL, stdout=sys.stderr)
