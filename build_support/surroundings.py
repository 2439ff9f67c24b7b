"""The environment of librdkafka's configure: a compiler, its flags, environment variables.

Used by build_librdkafka. Knows no part and no release.
"""
import os
import re
import shlex

from build_tools import variable
from library import MACOS

FRAMEWORKS = ["-framework", "CoreFoundation", "-framework", "SystemConfiguration"] if MACOS else []     # curl's
# The parts' OpenSSL knows one folder of certificates; this makes librdkafka search those of every system.
STATIC = ["-DWITH_STATIC_LIB_libcrypto=1"]
# Variables that would change configure's result: flags, which its compiler has already, and make's, bash's, mklove's.
NOT_CONFIGURE_S = {"CFLAGS", "CPPFLAGS", "CXXFLAGS", "LDFLAGS", "ARFLAGS", "LIBS", "MBITS", "BASH_ENV", "ENV", "CDPATH",
                   "POSIXLY_CORRECT", "MAKEFLAGS", "prefix", "libdir"}

# configure splits its variables at blanks, quoted or not. So it gets a compiler of two words that adds the flags
# itself, and joins words again whose blank pkg-config has escaped with a backslash.
WRAPPER = """#!/bin/sh
joined=
for word in "$@"; do
    shift
    case $word in
        *\\\\) joined="$joined${{word%?}} " ;;
        *) set -- "$@" "$joined$word"; joined= ;;
    esac
done
exec {before} "$@" {after}
"""


def own_flags(compiler, parts=None):
    """The compiler with its flags, in front and behind: the environment's and the parts'.

    Warnings are left out: configure treats every one as a failed check, and librdkafka's are not ours.
    """
    def flags(*names):
        return [word for name in names for word in variable(name) if not re.match(r"-W(?![lpa],)", word)]

    pinned = ([f"-I{parts / 'include'}", *STATIC], [f"-L{parts / 'lib'}", *FRAMEWORKS]) if parts else ([], [])
    return [*compiler, *pinned[0], *flags("CPPFLAGS", "CFLAGS")], [*pinned[1], *flags("LDFLAGS")]


def wrapper(before, after):
    """The text of configure's compiler."""
    return WRAPPER.format(before=shlex.join(before), after=shlex.join(after))


def environment(parts=None):
    env = {name: value for name, value in os.environ.items() if name not in NOT_CONFIGURE_S}
    env |= {"CC": "sh ./compiler.sh", "CXX": "sh ./compiler.sh", "TERM": "dumb", "LC_ALL": "C"}
    if parts:
        env |= {"PKG_CONFIG_LIBDIR": str(parts / "no-pkg-config"), "PKG_CONFIG_PATH": ""}
    return env
