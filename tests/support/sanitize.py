"""Builds kafkapp and librdkafka with a sanitizer, or runs valgrind, over some of the tests.

`python tests/support/sanitize.py asan tests/behaviour/test_producer_sync.py`; --help lists the rest. The builds stay in a
cache folder; each kind first finds bugs that are planted for it, where the tests run, so that silence means something.
test_sanitizers.py runs what is quick.
"""
import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "build_support"))

import build_librdkafka

SHORT = ["tests/behaviour/test_producer_sync.py", "tests/behaviour/test_producer_manual.py", "tests/behaviour/test_callbacks.py",
         "tests/behaviour/test_zero_copy.py", "tests/faults/test_sanitizer_workload.py", "tests/behaviour/test_batch.py", "tests/behaviour/test_columns.py",
         "tests/cli/test_cli_line_splitter.py", "tests/behaviour/test_aio.py", "tests/behaviour/test_tls.py", "tests/behaviour/test_broker_error_texts.py",
         "tests/behaviour/test_faulty_arrow_exporters.py", "tests/behaviour/test_buffer_subclasses.py", "tests/behaviour/test_unknown_offsets.py", "tests/behaviour/test_idle_producers.py",
         "tests/behaviour/test_close_under_use.py", "tests/behaviour/test_straight_path.py", "tests/behaviour/test_topic_calls.py", "tests/behaviour/test_arrow_streams.py",
         "tests/behaviour/test_header_columns.py", "tests/behaviour/test_timestamp_columns.py"]
# memcheck makes Python thirty times slower: no tests with bounds on time, or that start a Python.
SHORT_VALGRIND = ["tests/behaviour/test_producer_manual.py", "tests/behaviour/test_zero_copy.py", "tests/faults/test_sanitizer_workload.py",
                  "tests/behaviour/test_broker_error_texts.py"]
# Without the GIL, under ThreadSanitizer: twenty times slower, and each Python that a test starts is.
SHORT_THREADS = ["tests/faults/test_free_threading.py", "tests/faults/test_eight_threads.py", "tests/faults/test_thread_races.py", "tests/behaviour/test_close_under_use.py",
                 "tests/behaviour/test_producer_sync.py", "tests/behaviour/test_producer_manual.py", "tests/behaviour/test_callbacks.py"]
# The first one's Python has pymalloc, in whose arenas LeakSanitizer does not look for pointers. A forked child, as in the
# others, leaves alone what was its parent's threads'.
DESELECTED = {"leaks": ["tests/behaviour/test_zero_copy.py::test_a_batch_that_nobody_keeps_lives_until_its_reports_and_no_longer",
                        "tests/behaviour/test_idle_producers.py::test_a_callback_of_an_idle_producer_that_forks",
                        "tests/behaviour/test_idle_producers.py::test_a_process_ends_beside_an_idle_producer"]}
FRAMES = "-g -O1 -fno-omit-frame-pointer"
FLAGS = {
    "asan": f"{FRAMES} -fsanitize=address,undefined",
    "leaks": f"{FRAMES} -fsanitize=address",
    "tsan": f"{FRAMES} -fsanitize=thread",
    "tsan-python": f"{FRAMES} -fsanitize=thread",
    "valgrind": "-g -O1",
}
LIBRARIES = {None: (), "asan": ("asan", "ubsan"), "leaks": ("asan",), "tsan": ("tsan",), "tsan-python": ("tsan",), "valgrind": ()}

# One function each, and what its report says.
PLANTED = {
    "asan": {"heap-use-after-free": "char *volatile p = malloc(8); free(p); return p[n];",
             "heap-buffer-overflow": "volatile char *p = malloc(8 * n); p[8 * n] = 1; free((void *)p); return 0;",
             "signed integer overflow": "return 2147483647 + n;"},
    "leaks": {"detected memory leaks": "void *volatile p = malloc(50000 * n); p = 0; return 0;"},
    "valgrind": {"Invalid read": "char *volatile p = malloc(8); free(p); return p[n];",
                 "Invalid write": "volatile char *p = malloc(8 * n); p[8 * n] = 1; free((void *)p); return 0;",
                 "Invalid free": "void *volatile p = malloc(8 * n); free(p); free(p); return 0;"},
    "valgrind-c": {"uninitialised": "int *volatile p = malloc(4); int more = *p > n; free(p); return more ? rand() : 0;",
                   "definitely lost": "void *volatile p = malloc(50000 * n); p = 0; return 0;"},
    "tsan": {"data race": "pthread_t t; pthread_create(&t, 0, run, &n); n++; pthread_join(t, 0); return 0;"},
}
PLANTED["tsan-python"] = PLANTED["tsan"]
PLANT = """#include <pthread.h>
#include <stdlib.h>
void *run(void *p) { ++*(int *)p; return p; }
__attribute__((noipa)) int planted(int n) { %s }
int main(void) { planted(1); return 0; }
"""

# Findings in other projects' code, each with its reason. LeakSanitizer has none: numpy, which leaks, is imported unwatched.
UNDEFINED = "shift-base:rdvarint.h\n"               # librdkafka shifts a negative number to the left, in its zigzag code
RACES = "race:^rd_kafka_msg_sticky_partition$\n"    # librdkafka: two senders choose the next partition without a lock
INTERNING = "race:^intern_common$\n"                # CPython 3.13: two threads make the same string immortal
# An installed librdkafka, which is not compiled for ThreadSanitizer: it counts references with atomics that are not
# seen, so that freeing what another thread has used looks like a race. Its locks are seen, and all of csrc/.
UNSEEN = "race:librdkafka*.so\n"

# glibc compares whole words, which valgrind knows of where it can put its own in the place; so not of what CPython
# compares str with, and not of what the loader of modules looks for $ORIGIN with.
INVALID = """{
 wmemcmp
 Memcheck:Addr32
 fun:__wmemcmp_*
 fun:unicode_compare
}
{
 strncmp
 Memcheck:Addr8
 fun:strncmp
 fun:is_dst
}
"""

PYTEST = """import contextlib, ctypes, sys
sanitizer = ctypes.CDLL(None)
sanitizer.__lsan_disable()
with contextlib.suppress(ImportError):
    import numpy
sanitizer.__lsan_enable()
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
STRESS = ["tests/native/stress_delivery.c", "tests/native/stress_destroy.c", "csrc/dispatcher.c", "csrc/kept.c", "csrc/delivery.c",
          "csrc/report_drain.c", "csrc/headers.c", "csrc/batch.c", "csrc/produce.c", "csrc/destroy.c"]
# Functions that the stress wraps, to control or observe them.
WRAPPED = ["rd_kafka_queue_poll", "malloc", "calloc", "realloc", "kp_deadline_in", "kp_kept_next", "rd_kafka_destroy",
           "rd_kafka_consumer_close", "pthread_create"]
NOGIL = ROOT / "tests" / "native" / "stress_nogil.h"


def say(text):
    print(f"sanitize: {text}", flush=True)


def run(command, **kwargs):
    say(" ".join(map(str, command)))
    return subprocess.run(list(map(str, command)), check=True, **kwargs)


# -- what the machine has ----------------------------------------------------------------------------------------------

def library(name):
    """Where gcc has one of its libraries; only the name where it has none."""
    return subprocess.run(["gcc", f"-print-file-name=lib{name}.so"], check=True, capture_output=True, text=True).stdout.strip()


def python_headers():
    """The folders to search for Python.h: this Python's, or those that a build has fetched; none if there is no Python.h."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = {"base": sys.base_prefix, "installed_base": sys.base_prefix}
    fetched = ROOT / "build" / f"{version}-headers" / "usr" / "include"
    for folders in ([sysconfig.get_path("include", vars=base)], [fetched / version, fetched]):
        if Path(folders[0], "Python.h").exists():
            return folders
    return []


def installed():
    """The librdkafka that is installed, or that a build here has made; None: there is none with its headers."""
    with contextlib.suppress(build_librdkafka.BuildError):
        return build_librdkafka.usable_system() or build_librdkafka.from_prefix(
            ROOT / "build" / f"librdkafka-{build_librdkafka.VERSION}", "built here")
    return None


def missing(kind, prefix=None):
    """What has to be installed before this kind can run, in words; empty when nothing is missing."""
    if not shutil.which("gcc"):
        return "there is no gcc (Debian: apt-get install gcc libc6-dev)"
    if lacks := [f"lib{name}" for name in LIBRARIES[kind] if not os.path.isabs(library(name))]:
        return f"gcc has no {' and no '.join(lacks)} (Debian: it comes with gcc)"
    if kind == "tsan-python" and not ("--with-thread-sanitizer" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
                                      and sysconfig.get_config_var("Py_GIL_DISABLED")):
        return "this Python is not built for it (./configure --disable-gil --with-thread-sanitizer)"
    if kind == "valgrind" and not shutil.which("valgrind"):
        return "there is no valgrind (Debian: apt-get install valgrind)"
    if not python_headers():
        return "there is no Python.h (Debian: apt-get install python3-dev)"
    if not prefix and not installed():
        return "there are no headers of librdkafka (Debian: apt-get install librdkafka-dev pkg-config)"
    return ""


# -- builds ------------------------------------------------------------------------------------------------------------

def build_librdkafka_with(kind, source, cache):
    """librdkafka from its source, with the sanitizer in it. Returns its prefix."""
    prefix = cache / f"librdkafka-{kind}"
    if (prefix / "lib" / "pkgconfig" / "rdkafka.pc").exists():
        return prefix
    tree = cache / f"librdkafka-{kind}-source"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(source, tree, symlinks=True)
    for pattern in ("src*/*.o", "src*/*.a", "src*/*.so*", "src*/*.pc", "Makefile.config", "config.*"):
        for generated in tree.glob(pattern):
            generated.unlink()      # of an earlier build, with other flags
    # Without C11 threads for ThreadSanitizer, which does not see thrd_create().
    extra = ["--disable-c11threads"] if kind.startswith("tsan") else []
    run(["./configure", f"--prefix={prefix}", "--disable-sasl", "--disable-gssapi", *extra, f"--CFLAGS={FLAGS[kind]}",
         f"--LDFLAGS={FLAGS[kind]}"], cwd=tree, stdout=subprocess.DEVNULL)
    run(["make", "-j2", "-C", "src", "lib"], cwd=tree, stdout=subprocess.DEVNULL)
    run(["make", "-C", "src", "install"], cwd=tree, stdout=subprocess.DEVNULL)
    return prefix


def environment(prefix):
    made = dict(os.environ)
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        made["PYTHON_GIL"] = "0"        # whatever a test imports
    if prefix:
        made["PKG_CONFIG_PATH"] = str(prefix / "lib" / "pkgconfig")
        made["LD_LIBRARY_PATH"] = str(prefix / "lib")
    return made


def build_kafkapp(kind, prefix, cache):
    """The modules, in a copy of the tree that is built in place."""
    tree = cache / f"kafkapp-{kind}"
    for name in ("kafkapp", "csrc", "build_support", "tests"):
        shutil.rmtree(tree / name, ignore_errors=True)      # an earlier copy may have modules that are no more
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("*.so*", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy2(ROOT / name, tree / name)
    run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=tree, stdout=subprocess.DEVNULL,
        env={**environment(prefix), "CFLAGS": FLAGS[kind], "LDFLAGS": FLAGS[kind],
             "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"})     # the build asks the library for its version
    return tree


def build_stress(kind, cache, prefix=None, nogil=False, csrc=None):
    """The C stress of csrc/, without Python's own memory model in the way; without a `kind` no sanitizer watches it.
    `csrc`: another folder of those files."""
    program = cache / f"stress-{kind}{'-nogil' * nogil}"
    sources = [Path(csrc or ROOT / "csrc") / Path(name).name if name.startswith("csrc/") else ROOT / name for name in STRESS]
    if prefix:
        cflags, ldflags = [f"-I{prefix / 'include'}"], [f"-L{prefix / 'lib'}", f"-Wl,-rpath,{prefix / 'lib'}", "-lrdkafka"]
    else:
        found = installed()
        cflags, ldflags = found.cflags, found.ldflags
        sources += [ROOT / "tests" / "native" / "stress_c11threads.c"] if kind == "tsan" else []
    run(["gcc", *FLAGS.get(kind, "-O1").split(), *(["-include", NOGIL] if nogil else []), "-I", ROOT / "csrc",
         *(f"-I{folder}" for folder in python_headers()), *cflags, *sources, *ldflags, "-lpthread",
         *(f"-Wl,--wrap={name}" for name in WRAPPED), "-o", program])
    return program


# -- runs --------------------------------------------------------------------------------------------------------------

def options(kind, cache, prefix=None):
    """The environment of a sanitized run."""
    undefined, races = cache / "undefined.txt", cache / "races.txt"
    (cache / "invalid.txt").write_text(INVALID)
    undefined.write_text(UNDEFINED)
    races.write_text(RACES if prefix else UNSEEN)
    own = Path(sysconfig.get_config_var("abs_srcdir") or "", "Tools", "tsan", "suppressions_free_threading.txt")
    if kind == "tsan-python" and own.exists():      # what CPython knows of itself
        races.write_text(races.read_text() + INTERNING + own.read_text())
    return {"PYTHONMALLOC": "default" if kind == "tsan-python" else "malloc",    # without a GIL it has but one
            "UBSAN_OPTIONS": f"print_stacktrace=1:halt_on_error=1:suppressions={undefined}",
            "ASAN_OPTIONS": f"detect_leaks={int(kind == 'leaks')}:abort_on_error=0:allocator_may_return_null=1",
            "LSAN_OPTIONS": "report_objects=1", "TSAN_OPTIONS": f"halt_on_error=0:exitcode=66:suppressions={races}"}


def before(kind, cache, python):
    """The prefix of a command that is to be watched."""
    if not kind.startswith("valgrind"):
        return []
    # In Python all that comes from os.urandom() counts as undefined forever, and much is there until the end.
    much = ["--undef-value-errors=no", "--leak-check=no"] if python else ["--leak-check=full", "--show-leak-kinds=definite"]
    return ["valgrind", "-q", "--error-exitcode=9", "--trace-children=no", "--num-callers=30", "--fair-sched=try",
            "--errors-for-leak-kinds=definite", f"--suppressions={cache / 'invalid.txt'}", *much]


def preload(kind, cache):
    """A Python that is not built with the sanitizer has to have it first of all; then C11's threads as POSIX's, for it
    sees only those start: the stack of another may be one that a forked child has from its parent, marks and all."""
    named = () if kind == "tsan-python" else LIBRARIES[kind]        # that one is built with it
    if not named:
        return {}
    threads = cache / "c11threads.so"
    run(["gcc", "-shared", "-fPIC", "-O1", ROOT / "tests" / "native" / "stress_c11threads.c", "-o", threads, "-lpthread"])
    return {"LD_PRELOAD": " ".join([*(library(name) for name in (*named, "stdc++")), str(threads)])}


def control(kind, cache, python=False):
    """That the tool reports bugs that are there: in a program, or in a library that a Python calls."""
    made = {**os.environ, **options(kind, cache, cache)}
    planted = {**PLANTED[kind], **PLANTED.get(f"{kind}-c" if not python else "", {})}
    for number, (words, body) in enumerate(planted.items()):
        source, program = cache / f"planted-{kind}-{number}.c", cache / f"planted-{kind}-{number}{'.so' * python}"
        source.write_text(PLANT % body)
        run(["gcc", *FLAGS[kind].split(), *(["-shared", "-fPIC"] if python else []), source, "-o", program, "-lpthread"],
            stderr=subprocess.DEVNULL)
        command = [sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(program)!r}).planted(1)"] if python else [program]
        result = subprocess.run([*before(kind, cache, python), *command], env={**made, **(preload(kind, cache) if python else {})},
                                capture_output=True, text=True, timeout=120, check=False)
        if result.returncode == 0 or words not in result.stderr.replace("Invalid free() / delete", "Invalid free"):
            raise SystemExit(f"sanitize: {kind} did not report what was planted, {words}:\n{result.stderr}")
        say(f"control: {kind} reports what was planted: {words}")


def run_stress(kind, cache, program, seed, rounds, prefix=None, halt=False):
    """Returns the return code and all that was printed. `halt`: end with the first race; a lost count may hang it."""
    env = {**environment(prefix), **options("leaks" if kind == "asan" else kind, cache, prefix)}
    if halt:
        env["TSAN_OPTIONS"] += ":halt_on_error=1"
    command = [*before(kind, cache, python=False), program, str(seed), str(rounds)]
    result = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, errors="replace", timeout=3600, check=False)
    return result.returncode, result.stdout


def stress(kind, cache, seed, rounds, prefix=None):
    """The C stress as CPython with a GIL compiles csrc/, and, where races are looked for, without one."""
    worst = 0
    for nogil in (False, True) if kind == "tsan" else (False,):
        program = build_stress(kind, cache, prefix, nogil)
        code, text = run_stress(kind, cache, program, seed, rounds, prefix)
        print(text, end="", flush=True)
        say(f"{program.name}: {'clean' if code == 0 else f'return code {code}'}, "
            f"{len(re.findall('WARNING: ThreadSanitizer|ERROR: |runtime error|^==.* at 0x', text, re.MULTILINE))} reports")
        worst = worst or code
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(FLAGS), help="asan: AddressSanitizer and UBSan; leaks: LeakSanitizer; tsan: "
                        "ThreadSanitizer over a C stress of csrc/; tsan-python: ThreadSanitizer over the modules, run by a free-threaded "
                        "CPython that is built with it; valgrind: memcheck")
    parser.add_argument("--librdkafka", type=Path, metavar="SOURCE", help="librdkafka's source, to build it with the "
                        "sanitizer; without, the installed one is used")
    parser.add_argument("--prefix", type=Path, help="a librdkafka that is built with it already")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "sanitize", help="where builds are kept")
    parser.add_argument("--rounds", type=int, default=3000, help="of each of the C stress's threads (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the C stress (default: %(default)s)")
    parser.add_argument("tests", nargs="*", help=f"what pytest is to run; {' '.join(SHORT)}")
    arguments = parser.parse_intermixed_args()
    kind, cache = arguments.kind, arguments.cache.resolve()
    if lacks := missing(kind, arguments.prefix or arguments.librdkafka):
        raise SystemExit(f"sanitize: {lacks}")
    cache.mkdir(parents=True, exist_ok=True)
    prefix = arguments.prefix or (build_librdkafka_with(kind, arguments.librdkafka, cache) if arguments.librdkafka else None)
    prefix = prefix and prefix.resolve()
    if kind not in ("leaks", "tsan-python"):        # whose stress is that of asan and tsan
        control(kind, cache)
        rounds = arguments.rounds // (10 if kind == "valgrind" else 1)
        code = stress(kind, cache, arguments.seed, rounds, prefix)
    else:
        code = 0
    if code or kind == "tsan":
        return code
    control(kind, cache, python=True)
    folder = build_kafkapp(kind, prefix, cache)
    tests = arguments.tests or {"valgrind": SHORT_VALGRIND, "tsan-python": SHORT_THREADS}.get(kind, SHORT)
    command = [*before(kind, cache, python=True), sys.executable, *(["-c", PYTEST] if kind == "leaks" else ["-m", "pytest"]),
               "-q", "-s", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-o", "timeout=600",
               *(f"--deselect={test}" for test in DESELECTED.get(kind, ())), *tests]
    say(f"{kind}: {' '.join(tests)}")
    code = subprocess.run(command, cwd=folder, check=False, env={
        **environment(prefix), "PYTHONPATH": str(folder), **options(kind, cache, prefix), **preload(kind, cache)}).returncode
    say(f"{kind}: {'clean' if code == 0 else f'return code {code}'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
