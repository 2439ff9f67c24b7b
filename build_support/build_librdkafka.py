#!/usr/bin/env python3
"""librdkafka for kafkapp: the installed one, or our own build of the pinned release as a shared library.

Used by the builds of the package and of the wheels; also a command (--help). Knows nothing of kafkapp's modules and
needs a C compiler and bash: no make, no C++ compiler, no pkg-config, no module outside the standard library.
"""
import argparse
import concurrent.futures
import contextlib
import hashlib
import http.client
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import archives
import build_tools
import hardening
import makefile_config
import native_table
import node_client
import patches
import progress
import surroundings
from build_tools import TEXT, BuildError, Unreachable, run, say, words
from library import (
    MACOS,
    OLDEST,
    OPTIONAL,
    ORIGIN,
    SUFFIX,
    Library,
    cflags_of,
    from_prefix,
    from_system,
    rpath,
    usable_system,
)

__all__ = ["OLDEST", "ORIGIN", "BuildError", "Library", "Unreachable", "locate", "prepare", "say"]

VERSION = native_table.LIBRDKAFKA.version   # the release we build
SOURCES = native_table.LIBRDKAFKA.sources
UNREACHABLE_AFTER = 8   # seconds until an address that does not answer counts as unreachable
ATTEMPTS = 3            # of a download that breaks off; each resumes where the last one ended
NPM_WITHIN = 240        # seconds; npm has timeouts and retries of its own
UNPACKED = ("src/", "mklove/", "configure", "lds-gen.py", "LICENSE")    # what the build needs of it
SECONDS = 0.8           # to compile one file, estimated: for the progress line
# The files that every record passes through are compiled for speed (-O3); the rest for a short build (-O1).
HOT = re.compile(r"rdkafka(_(broker|buf|event|header|idempotence|lz4|msg|msgset_\w+|op|partition|queue|request|timer|"
                 r"topic|transport|zstd))?\.c|(rd(avl|buf|crc32|fnv1a|gz|hdrhistogram|list|map|murmur2|rand|string|"
                 r"varint|xxhash)|crc32c|lz4|lz4frame|lz4hc|snappy|tinycthread|tinycthread_extra)\.c")

# -- choosing ----------------------------------------------------------------------------------------------------------

def locate(build="build"):
    """The librdkafka that KAFKAPP_LIBRDKAFKA asks for, built if it has to be."""
    return prepare(build)[1]()


def prepare(build="build"):
    """(flags for the compiler, a function that builds and returns the Library): modules are compiled while it is built.

    KAFKAPP_LIBRDKAFKA is system, bundled, pinned or a prefix. Bundled is our build with what the machine has; pinned
    with what native_table has, for wheels. Unset: the installed one, or bundled.
    """
    choice = os.environ.get("KAFKAPP_LIBRDKAFKA") or "auto"
    if choice in ("auto", "system"):
        library = from_system() if choice == "system" else usable_system()
        if library:
            return library.cflags, lambda: library
    elif choice not in ("bundled", "pinned"):
        library = from_prefix(Path(choice).absolute(), choice)
        return library.cflags, lambda: library
    check_platform()
    tree = ready_tree(build)

    def finish():
        pinned = choice == "pinned"
        prefix = make(build, pinned=pinned)
        library = from_prefix(prefix, f"built here{' with its pinned parts' * pinned}", bundled=True)
        if pinned and (lacks := sorted(OPTIONAL.keys() - {*library.features, "sasl_gssapi"})):
            raise BuildError(f"librdkafka was built without {', '.join(lacks)}, which a wheel must have")
        return library

    return cflags_of(tree, bool(patches.load())), finish


# -- fetching ----------------------------------------------------------------------------------------------------------

def fetch_archive(source, to):
    """Download from its address; a download that breaks off is resumed, a few times."""
    to.unlink(missing_ok=True)
    broken = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            say(f"{source.name} {broken}: resuming")
            time.sleep(attempt / 2)
        begin = to.stat().st_size if to.exists() else 0
        try:
            with opened(source.name, begin) as response:
                return copy(response, to)
        except Unreachable as error:
            if begin and getattr(error.__cause__, "code", None) == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                return None     # it was complete already; the checksum decides
            raise
        except (OSError, http.client.HTTPException) as error:
            broken = f"broke off ({type(error).__name__}: {error})"
    raise Unreachable(f"{source.name} {broken}")


def opened(address, begin=0):
    """A response, from that byte on if the server allows it. Bounded: a resolver or firewall may block for minutes."""
    answers = []
    request = urllib.request.Request(address, headers={"Range": f"bytes={begin}-"} if begin else {})

    def open_it():
        try:
            answers.append(urllib.request.urlopen(request, timeout=UNREACHABLE_AFTER))
        except (OSError, http.client.HTTPException, ValueError) as error:     # ValueError: a proxy that is no address
            answers.append(error)

    opener = threading.Thread(target=open_it, daemon=True)
    opener.start()
    opener.join(UNREACHABLE_AFTER)
    if not answers or isinstance(answers[0], Exception):
        raise Unreachable(f"{address} cannot be reached ({answers[0] if answers else 'no answer'})") from (
            answers[0] if answers else None)
    return answers[0]


def copy(response, to):
    """Write the body of a response, appended if the response is partial content."""
    goes_on = getattr(response, "status", None) == http.client.PARTIAL_CONTENT
    with open(to, "ab" if goes_on else "wb") as file:
        begin = file.tell()
        try:
            shutil.copyfileobj(response, file)
        except http.client.IncompleteRead as error:
            file.write(error.partial)
            raise
        length = getattr(response, "headers", {}).get("Content-Length")
        if length and length.isdigit() and file.tell() - begin < int(length):
            raise http.client.IncompleteRead(b"", int(length) - file.tell() + begin)


def npm_command():
    """The command of the npm client: the installed one, else a verified Python package's; None if there is none."""
    if shutil.which("npm"):
        return ["npm"]
    place = node_client.folder()
    return node_client.command(place) if place else None


def fetch_npm(source, to):
    npm = npm_command()
    if npm is None:
        raise Unreachable(f"the npm package {source.name}: there is no npm client: install one (Debian: "
                          f"apt-get install npm; or pip install {node_client.REQUIREMENT})")
    folder = to.with_suffix(".npm")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        output = run(*npm, "pack", "--ignore-scripts", "--cache", str(folder / "cache"), source.name, cwd=folder,
                     timeout=NPM_WITHIN)
        packed = next(folder.glob("*.tgz"), None)
        if packed is None:
            raise Unreachable(f"npm pack wrote no archive:\n{output}")
        os.replace(packed, to)
    except BuildError as error:
        raise Unreachable(f"the npm package {source.name}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fetch(build, kinds=("archive", "npm")):
    """The first source that can be fetched, as (Source, file), its checksum verified."""
    if kept := kept_source(build, kinds):
        return kept
    refused = []
    for source in SOURCES:
        if source.kind not in kinds:
            continue
        file = kept_file(build, source)
        file.parent.mkdir(parents=True, exist_ok=True)
        say(f"fetching librdkafka {VERSION}: {source.name}")
        part = file.with_suffix(".part")
        try:
            {"archive": fetch_archive, "npm": fetch_npm}[source.kind](source, part)
            return source, archives.checked(part, source).rename(file)
        except Unreachable as error:
            say(str(error))
            refused.append(str(error))
        finally:
            part.unlink(missing_ok=True)
    raise BuildError(f"librdkafka {VERSION} is not installed and could not be fetched:\n  " + "\n  ".join(refused) +
                     "\nmake one of these work, or install librdkafka itself (Debian: apt-get install librdkafka-dev "
                     "pkg-config)")


def kept_file(build, source):
    return Path(build) / f"librdkafka-{VERSION}.{source.kind}.tar.gz"


def kept_source(build, kinds=("archive", "npm")):
    """The archive that an earlier build fetched, from any source."""
    for source in SOURCES:
        file = kept_file(build, source)
        if source.kind in kinds and archives.matches(file, source):
            return source, file
    return None


def needs_npm(build="build"):
    """Whether a build here needs an npm client that is not installed; fetches the archive if that is reachable."""
    choice = os.environ.get("KAFKAPP_LIBRDKAFKA") or "auto"
    if choice not in ("auto", "bundled") or (choice == "auto" and usable_system()):
        return False
    with contextlib.suppress(Unreachable):  # a client that is not the pinned one does not count
        if npm_command():
            return False
    if patches.applied(patches.load(), source_tree(build)) or kept_source(build):
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
    """Extract only what the build needs; renamed once complete, so that an incomplete tree is never used."""
    part = to.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    archives.extract(source, file, part, UNPACKED)
    shutil.rmtree(to, ignore_errors=True)
    part.rename(to)


def check_platform():
    if not sys.platform.startswith("linux") and not MACOS:
        raise BuildError("kafkapp builds its own librdkafka on Linux and macOS: install librdkafka and pkg-config")
    for tool, package in (("bash", "bash"), ("ld", "binutils")):
        if not shutil.which(tool):
            raise BuildError(f"{tool} is needed to build librdkafka and is missing (Debian: apt-get install {package})")


def ready_tree(build, kinds=("archive", "npm")):
    """The unpacked and patched sources, fetched if needed; the folder exists only once it is complete."""
    tree = source_tree(build)
    if not patches.applied(patches.load(), tree):
        source, file = fetch(build, kinds)
        fresh = tree.with_name(tree.name + "-fresh")
        unpack(source, file, fresh)
        (fresh / "kafkapp-source.txt").write_text(source.name)
        patches.apply(patches.load(), fresh)
        headers = fresh / "include" / "librdkafka"      # the modules are compiled with these while the library is built
        headers.mkdir(parents=True)
        for name in ("rdkafka.h", "rdkafka_mock.h"):
            shutil.copy(fresh / "src" / name, headers)
        shutil.rmtree(tree, ignore_errors=True)
        fresh.rename(tree)
    return tree


def make(build="build", prefix=None, kinds=("archive", "npm"), jobs=None, pinned=False):
    """Build the pinned release into a prefix, unless the same build is there already; returns the prefix."""
    check_platform()
    compiler = build_tools.compiler()
    prefix = Path(prefix or Path(build) / f"librdkafka-{VERSION}{'-pinned' * pinned}").absolute()
    jobs = jobs or build_tools.CORES
    tree = ready_tree(build, kinds)
    parts = build_parts().make(build, compiler, jobs) if pinned else None
    settings = configure(tree, compiler, parts)
    found = [(tree / name).read_text(**TEXT) for name in ("config.h", "Makefile.config")]
    facts = [VERSION, patches.key(patches.load()), run(*compiler, "--version"), Path(__file__).read_text("utf-8"),
             repr([surroundings.own_flags(compiler, parts), hardening.compile_flags(), hardening.link_flags()]), *found]
    facts += [(parts / "build.key").read_text()] if parts else []
    key = hashlib.sha256("\0".join(facts).encode(**TEXT)).hexdigest()
    stamp = prefix / "librdkafka-build.key"
    if not stamp.exists() or stamp.read_text() != key:
        library = compile_and_link(tree, compiler, settings, jobs, parts)
        stamp.unlink(missing_ok=True)   # without it an incomplete prefix does not count
        install(tree, library, prefix)
        if parts:
            shutil.copytree(parts / "licences", prefix / "licences", dirs_exist_ok=True)
            used = json.loads((parts / "sources.json").read_text())
            used["librdkafka"] = (tree / "kafkapp-source.txt").read_text()
            (prefix / "sources.json").write_text(json.dumps(used))
        stamp.write_text(key)
    return prefix


def build_parts():
    """The module that builds the dependencies of a wheel's librdkafka; it imports this one."""
    if __name__ == "__main__":
        sys.modules["build_librdkafka"] = sys.modules["__main__"]
    return importlib.import_module("build_parts")


def configure(tree, compiler, parts=None):
    """Run librdkafka's own configure on the machine, or on the pinned parts only; returns the variables it found.

    It asks for a C++ compiler, for a part that we do not build: any compiler will do.
    """
    before, after = surroundings.own_flags(compiler, parts)
    (tree / "compiler.sh").write_text(surroundings.wrapper(before, after), **TEXT)
    options = ["--disable-lz4-ext"]
    if parts:   # no Kerberos: its tickets belong to the machine's own library
        options = ["--disable-gssapi"]
    run("bash", "./configure", "--disable-syslog", "--disable-debug-symbols", "--no-download", "--no-cache", *options,
        cwd=tree, env=surroundings.environment(parts))
    return makefile_config.parse((tree / "Makefile.config").read_text(**TEXT))


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
    progress.PROGRESS.expect("librdkafka's files", len(files), SECONDS)

    def found(name):
        return words(settings.get(name, ""), f"{name} in Makefile.config")

    command, behind = surroundings.own_flags(compiler, parts)
    flags = [*command, *found("CPPFLAGS"), *found("CFLAGS"), *hardening.compile_flags(), "-g0", "-pipe", "-fPIC", "-w"]
    ldflags = [*found("LDFLAGS"), *behind]
    whole = whole_program(compiler, jobs) if parts else []

    def compile_one(file):
        target = objects / (file.replace("/", "_") + ".o")
        level = "-O3" if parts or HOT.fullmatch(file) else "-O1"
        with build_tools.SEATS:
            run(*flags, level, *whole, "-I.", "-c", file, "-o", str(target), cwd=src)
        progress.PROGRESS.step("librdkafka's files")
        return str(target)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        files.sort(key=lambda file: -(src / file).stat().st_size)   # the longest first
        compiled = sorted(pool.map(compile_one, files))
    # A name of its own, so that the loader does not take a librdkafka.so.1 that is already in the process for this one;
    # only the public symbols, so that its copy of lz4 does not clash with another.
    library = tree / f"librdkafka-{VERSION}{SUFFIX}"
    symbols = tree / "librdkafka.lds"
    headers = "".join((src / name).read_text(**TEXT) for name in ("rdkafka.h", "rdkafka_mock.h"))
    symbols.write_text(run_with_input(headers, sys.executable, str(tree / "lds-gen.py")))
    libs = found("LIBS")
    if not parts:   # folders that the loader does not search by itself
        folders = dict.fromkeys(word[2:] for word in (*ldflags, *libs) if word.startswith("-L/"))
        ldflags += [word for folder in folders for word in rpath(folder)]
    if MACOS:
        names = re.findall(r"^\s*(rd_\w+);", symbols.read_text(), re.MULTILINE)
        symbols.write_text("".join(f"_{name}\n" for name in names))
        flags = ["-dynamiclib", f"-Wl,-install_name,@rpath/{library.name}", "-Wl,-exported_symbols_list,librdkafka.lds"]
    else:   # the parts are archives that refer to each other: a group
        flags = ["-shared", f"-Wl,-soname,{library.name}", "-Wl,-z,defs", "-Wl,-Bsymbolic-functions", "-Wl,-s",
                 "-Wl,--exclude-libs,ALL", "-Wl,--build-id=none", "-Wl,--version-script=librdkafka.lds",
                 *hardening.link_flags()]
        libs = ["-Wl,--start-group", *libs, *(["-lpthread", "-ldl"] if parts else []), "-Wl,--end-group"]
    flags += ["-O3", "-fPIC", *whole] if whole else []
    run(*command, *flags, *ldflags, "-o", str(library), *compiled, *libs, cwd=tree)
    say(f"built librdkafka {VERSION} in {time.monotonic() - began:.0f} seconds")
    return library


def whole_program(compiler, jobs):
    """Flags to optimise all files as one program, which saves 200 instructions a record. clang's would need lld."""
    return [] if MACOS or "clang" in run(*compiler, "--version") else [f"-flto={jobs}"]


def run_with_input(text, *command):
    return subprocess.run(command, check=True, input=text, stdout=subprocess.PIPE, **TEXT).stdout


def install(tree, library, prefix):
    shutil.rmtree(prefix / "include" / "librdkafka", ignore_errors=True)
    for folder in (prefix / "include" / "librdkafka", prefix / "lib" / "pkgconfig"):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("rdkafka.h", "rdkafka_mock.h"):
        shutil.copy(tree / "src" / name, prefix / "include" / "librdkafka")
    shutil.copy(tree / "LICENSES.txt", prefix / "librdkafka-LICENSES.txt")
    link = prefix / "lib" / f"librdkafka{SUFFIX}"
    for old in (link, prefix / "lib" / library.name):   # never overwritten: a process may have it loaded
        old.unlink(missing_ok=True)
    shutil.copy(library, prefix / "lib")
    link.symlink_to(library.name)
    (prefix / "lib" / "pkgconfig" / "rdkafka.pc").write_text(
        f"prefix={prefix}\nlibdir=${{prefix}}/lib\nincludedir=${{prefix}}/include\n\nName: librdkafka\n"
        f"Description: The Apache Kafka C library\nVersion: {VERSION}\nCflags: -I${{includedir}}\n"
        "Libs: -L${libdir} -lrdkafka\n", **TEXT)


def main():
    parser = argparse.ArgumentParser(description=f"Build librdkafka {VERSION} as a shared library; print its features.")
    parser.add_argument("--prefix", help="where to install it (default: within the build folder)")
    parser.add_argument("--build", default="build", help="folder for downloads and objects (default: %(default)s)")
    parser.add_argument("--source", choices=[source.kind for source in SOURCES], help="use this source only")
    parser.add_argument("--pinned", action="store_true", help="with the pinned parts of a wheel, not the machine's")
    parser.add_argument("--jobs", type=int, help="compilers at a time (default: one a core)")
    arguments = parser.parse_args()
    kinds = [arguments.source] if arguments.source else [source.kind for source in SOURCES]
    with build_tools.one_line(), build_tools.lock(arguments.build):
        build_tools.have_room(arguments.build)
        prefix = make(arguments.build, arguments.prefix, kinds, arguments.jobs, arguments.pinned)
        say(from_prefix(prefix, f"built into {prefix}", bundled=True).verdict())


if __name__ == "__main__":
    main()
