"""A librdkafka to compile and link against: the installed one, or one in a prefix, with its features.

Used by build_librdkafka, which chooses and builds.
"""
import contextlib
import ctypes
import dataclasses
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import patches
from build_tools import BuildError, compiler, run, say, variable, words

OLDEST = "2.0.2"    # the oldest supported librdkafka: Debian 12's
MACOS = sys.platform == "darwin"
SUFFIX, ORIGIN = (".dylib", "@loader_path") if MACOS else (".so", "$ORIGIN")

# builtin.features that our build may lack: the missing library, and the Debian package that provides it.
OPTIONAL = {
    "gzip": ("zlib", "zlib1g-dev"),
    "zstd": ("libzstd", "libzstd-dev"),
    "ssl": ("OpenSSL", "libssl-dev"),
    "sasl_scram": ("OpenSSL", "libssl-dev"),
    "sasl_oauthbearer": ("OpenSSL", "libssl-dev"),
    "sasl_gssapi": ("Cyrus SASL", "libsasl2-dev"),
    "http": ("libcurl", "libcurl4-openssl-dev"),
    "oidc": ("libcurl or OpenSSL", "libcurl4-openssl-dev libssl-dev"),
}


@dataclasses.dataclass(frozen=True)
class Library:
    """A librdkafka to compile and link against."""
    route: str                      # how it was chosen, in words for the user
    version: str
    features: tuple[str, ...]       # its builtin.features
    cflags: tuple[str, ...]
    ldflags: tuple[str, ...]
    files: tuple[Path, ...] = ()    # to be installed beside the modules that link it
    licences: tuple[Path, ...] = () # of the libraries linked into it, if pinned: a wheel's
    patched: bool = False           # with build_support/patches

    def verdict(self):
        """What this library has, what it lacks and why, in lines for the user."""
        missing = [name for name in OPTIONAL if name not in self.features]
        how = self.route + (", with kafkapp's patches" if self.patched else "")
        lines = [f"librdkafka {self.version} ({how})", f"features: {', '.join(self.features) or 'unknown'}"]
        if self.licences:
            lines += [f"left out: {name}" for name in missing]
        elif self.files:
            lines += [f"missing: {name} ({OPTIONAL[name][0]} and its headers not found)" for name in missing]
            if packages := sorted({package for name in missing for package in OPTIONAL[name][1].split()}):
                lines.append(f"to have them on Debian: apt-get install {' '.join(packages)}, then install again")
        else:
            lines += [f"missing: {name} (not in that librdkafka)" for name in missing]
        return "\n".join(lines) + "\n"


# -- the installed one -------------------------------------------------------------------------------------------------

def pkg_config():
    """The pkg-config command, with the arguments from PKG_CONFIG; None if it is not installed."""
    command = variable("PKG_CONFIG", "pkg-config")
    return command if shutil.which(command[0]) else None


def have_system():
    """Whether pkg-config knows a supported librdkafka."""
    command = pkg_config()
    try:
        return command is not None and subprocess.run(
            [*command, f"--atleast-version={OLDEST}", "rdkafka"], check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:     # not for this machine, or a folder
        return False


def usable_system():
    """The installed librdkafka if it can be linked; None, and a message if it is broken."""
    if not have_system():
        return None
    try:
        return from_system()
    except BuildError as error:
        say(f"the installed librdkafka is skipped: {error}")
        return None


def from_system():
    if not have_system():
        raise BuildError(f"KAFKAPP_LIBRDKAFKA=system, but `pkg-config rdkafka` finds no librdkafka {OLDEST} or later "
                         "(Debian: apt-get install librdkafka-dev pkg-config)")

    def ask(flag):
        return words(run(*pkg_config(), flag, "rdkafka"), f"the answer to `pkg-config {flag} rdkafka`")

    cflags, ldflags = ask("--cflags"), ask("--libs")
    # pkg-config gives a -L only for a folder that the loader may not search by itself.
    folders = [flag[2:] for flag in ldflags if flag.startswith("-L") and flag[2:]]
    ldflags += [word for folder in folders for word in rpath(folder)]
    check_links(cflags, ldflags)
    places = [Path(folder, f"librdkafka{SUFFIX}") for folder in [*ask("--variable=libdir")[:1], *folders]]
    version = (ask("--modversion") or ["unknown"])[0]
    return Library("the installed one", version, features_of(*places, "librdkafka.so.1"), tuple(cflags), tuple(ldflags))


def check_links(cflags, ldflags):
    """Check that headers and library work: pkg-config only repeats the text of a file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "links.c")
        file.write_text("#include <librdkafka/rdkafka.h>\n#include <librdkafka/rdkafka_mock.h>\n"
                        "int main(void) { return rd_kafka_version() == 0; }\n")
        try:
            run(*compiler(), *cflags, str(file), "-o", str(Path(folder, "links")), *ldflags)
        except BuildError as error:
            why = next((line for line in str(error).splitlines() if "error" in line or "cannot" in line), str(error))
            raise BuildError("pkg-config names an installed librdkafka, but nothing can be compiled and linked with it "
                             f"(Debian: apt-get install --reinstall librdkafka-dev): {why}") from error


def rpath(folder):
    """The linker's options; a folder with a comma cannot follow -Wl."""
    return (f"-Wl,-rpath,{folder}",) if "," not in str(folder) else ("-Xlinker", "-rpath", "-Xlinker", str(folder))


# -- one in a prefix ---------------------------------------------------------------------------------------------------

def from_prefix(prefix, route, bundled=False):
    header = prefix / "include" / "librdkafka" / "rdkafka.h"
    library = next((lib for name in ("lib", "lib64") if (lib := prefix / name / f"librdkafka{SUFFIX}").exists()), None)
    if library is None or not header.exists():
        raise BuildError(f"no librdkafka in {prefix}: KAFKAPP_LIBRDKAFKA is system, bundled, pinned or a prefix that "
                         f"holds include/librdkafka/rdkafka.h and lib/librdkafka{SUFFIX}")
    version = version_of(header)
    if [*map(int, version.split("."))] < [*map(int, OLDEST.split("."))]:
        raise BuildError(f"the librdkafka in {prefix} is {version}: kafkapp needs {OLDEST} or later")
    library = library.resolve()
    folder = ORIGIN if bundled else library.parent
    files = (library, prefix / "librdkafka-LICENSES.txt") if bundled else ()
    licences = tuple(sorted((prefix / "licences").glob("*.txt"))) if bundled else ()
    patched = bundled and bool(patches.load())
    return Library(route, version, features_of(library), cflags_of(prefix, patched), (str(library), *rpath(folder)),
                   files, licences, patched)


def cflags_of(prefix, patched):
    return (f"-I{prefix / 'include'}", *(["-DKAFKAPP_PATCHED_LIBRDKAFKA"] if patched else []))


def version_of(header):
    found = re.search(r"define\s+RD_KAFKA_VERSION\s+(0x[0-9a-fA-F]+)", header.read_text("utf-8", "replace"))
    if found is None:
        raise BuildError(f"{header} does not say which librdkafka it belongs to")
    return ".".join(str(int(found[1], 16) >> shift & 0xff) for shift in (24, 16, 8))


def features_of(*libraries):
    """builtin.features of the first that can be loaded; empty if none can, as in a cross-build."""
    for library in libraries:
        with contextlib.suppress(OSError):
            return ask_features(ctypes.CDLL(str(library)))
    return ()


def ask_features(lib):
    lib.rd_kafka_conf_new.restype = ctypes.c_void_p
    conf, text = ctypes.c_void_p(lib.rd_kafka_conf_new()), ctypes.create_string_buffer(1024)
    size = ctypes.c_size_t(len(text))
    lib.rd_kafka_conf_get(conf, b"builtin.features", text, ctypes.byref(size))
    lib.rd_kafka_conf_destroy(conf)
    return tuple(text.value.decode().split(","))
