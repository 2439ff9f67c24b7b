"""Builds kafkapp and librdkafka with a sanitizer, or runs valgrind, over a part of the tests: one command for each.

Layer: tool. `python tests/sanitize.py asan tests/test_producer_sync.py`; --help lists the rest. The builds stay in a
cache folder; each kind first finds a bug that is planted for it, so that silence means something.
"""
import argparse
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHORT = ["tests/test_producer_sync.py", "tests/test_producer_manual.py", "tests/test_callbacks.py",
         "tests/test_zero_copy.py", "tests/test_faults_sanitized.py"]
FLAGS = {
    "asan": "-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined",
    "leaks": "-g -O1 -fno-omit-frame-pointer -fsanitize=address",
    "tsan": "-g -O1 -fno-omit-frame-pointer -fsanitize=thread",
    "valgrind": "-g -O1",
}
PLANTED = {
    "asan": "int main(int n, char **v) { char *p = malloc(8); free(p); return p[n - 1]; }",
    "leaks": "int main(void) { void *volatile p = malloc(50000); p = 0; return 0; }",
    "valgrind": "int main(int n, char **v) { char *p = malloc(8); free(p); return p[n - 1]; }",
    "tsan": """#include <pthread.h>
               int n; static void *run(void *p) { n++; return p; }
               int main(void) { pthread_t t; pthread_create(&t, 0, run, 0); n++; pthread_join(t, 0); return 0; }""",
}
SUPPRESSED = "leak:libpython\nleak:_Py\nleak:PyObject\nleak:PyMem\nleak:/python3\nleak:_ctypes\nleak:numpy\n"


def say(text):
    print(f"sanitize: {text}", flush=True)


def run(command, **kwargs):
    say(" ".join(map(str, command)))
    return subprocess.run(list(map(str, command)), check=True, **kwargs)


def build_librdkafka(kind, source, cache):
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
    extra = ["--disable-c11threads"] if kind == "tsan" else []
    run(["./configure", f"--prefix={prefix}", "--disable-sasl", "--disable-gssapi", *extra, f"--CFLAGS={FLAGS[kind]}",
         f"--LDFLAGS={FLAGS[kind]}"], cwd=tree, stdout=subprocess.DEVNULL)
    run(["make", "-j2", "-C", "src", "lib"], cwd=tree, stdout=subprocess.DEVNULL)
    run(["make", "-C", "src", "install"], cwd=tree, stdout=subprocess.DEVNULL)
    return prefix


def environment(kind, prefix):
    made = dict(os.environ)
    if prefix:
        made["PKG_CONFIG_PATH"] = str(prefix / "lib" / "pkgconfig")
        made["LD_LIBRARY_PATH"] = str(prefix / "lib")
    return made


def build_kafkapp(kind, prefix, cache):
    """The modules, in a copy of the tree that is built in place."""
    tree = cache / f"kafkapp-{kind}"
    for name in ("kafkapp", "csrc", "tests"):
        shutil.copytree(ROOT / name, tree / name, dirs_exist_ok=True, symlinks=True,
                        ignore=shutil.ignore_patterns("*.so*", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy2(ROOT / name, tree / name)
    run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=tree, stdout=subprocess.DEVNULL,
        env={**environment(kind, prefix), "CFLAGS": FLAGS[kind], "LDFLAGS": FLAGS[kind],
             "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"})     # the build asks the library for its version
    return tree


def library(name):
    return subprocess.run(["gcc", f"-print-file-name=lib{name}.so"], check=True, capture_output=True, text=True).stdout.strip()


def options(kind, cache):
    """The environment of a sanitized run, and what stands before the command."""
    suppressions = cache / "leaks.txt"
    suppressions.write_text(SUPPRESSED)
    remarks = cache / "undefined.txt"
    remarks.write_text("shift-base:rdvarint.h\n")      # librdkafka's own: a negative number is shifted
    made = {"PYTHONMALLOC": "malloc", "UBSAN_OPTIONS": f"print_stacktrace=1:halt_on_error=1:suppressions={remarks}",
            "LSAN_OPTIONS": f"suppressions={suppressions}:print_suppressions=0",
            "ASAN_OPTIONS": f"detect_leaks={int(kind == 'leaks')}:abort_on_error=0:allocator_may_return_null=1",
            "TSAN_OPTIONS": "halt_on_error=0:exitcode=66"}
    if kind in ("asan", "leaks"):
        made["LD_PRELOAD"] = " ".join([library("asan"), *([library("ubsan")] if kind == "asan" else []), library("stdc++")])
    before = []
    if kind == "valgrind":
        before = ["valgrind", "-q", "--error-exitcode=9", "--trace-children=no", "--num-callers=30", "--fair-sched=try", "--undef-value-errors=no",
                  "--leak-check=no"]
    return made, before


def control(kind, cache):
    """That the tool reports a bug that is there."""
    source, program = cache / f"planted-{kind}.c", cache / f"planted-{kind}"
    source.write_text("#include <stdlib.h>\n" + textwrap.dedent(PLANTED[kind]) + "\n")
    run(["gcc", *FLAGS[kind].split(), source, "-o", program, "-lpthread"])
    made, before = options(kind, cache)
    made.pop("LD_PRELOAD", None)
    result = subprocess.run([*before, program], env={**os.environ, **made}, capture_output=True, text=True, check=False)
    if result.returncode == 0 or not any(word in result.stderr for word in ("Sanitizer", "Invalid read")):
        raise SystemExit(f"sanitize: the planted bug of {kind} was not reported:\n{result.stderr}")
    say(f"control: the bug planted for {kind} is reported")


def stress(kind, prefix, cache):
    """The C stress of csrc/, without Python's own memory model in the way."""
    program = cache / f"stress-{kind}"
    headers = subprocess.run([sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('include'))"], check=True,
                             capture_output=True, text=True).stdout.strip()
    run(["gcc", *FLAGS[kind].split(), "-I", ROOT / "csrc", "-I", headers, "-I", prefix / "include", ROOT / "tests" /
         "stress_delivery.c", ROOT / "csrc" / "delivery.c", ROOT / "csrc" / "rounds.c", ROOT / "csrc" / "batch.c", ROOT / "csrc" / "produce.c",
         "-L", prefix / "lib", f"-Wl,-rpath,{prefix / 'lib'}", "-lrdkafka", "-lpthread", "-o", program])
    return [program]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(FLAGS), help="asan: AddressSanitizer and UBSan; leaks: LeakSanitizer; tsan: "
                        "ThreadSanitizer over a C stress of csrc/; valgrind: memcheck")
    parser.add_argument("--librdkafka", type=Path, metavar="SOURCE", help="librdkafka's source, to build it with the "
                        "sanitizer; without, the installed one is used")
    parser.add_argument("--prefix", type=Path, help="a librdkafka that is built with it already")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "sanitize", help="where builds are kept")
    parser.add_argument("tests", nargs="*", help=f"what pytest is to run; {' '.join(SHORT)}")
    arguments = parser.parse_intermixed_args()
    kind, cache = arguments.kind, arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    prefix = arguments.prefix or (build_librdkafka(kind, arguments.librdkafka, cache) if arguments.librdkafka else None)
    control(kind, cache)
    made, before = options(kind, cache)
    if kind == "tsan":
        if not prefix:
            raise SystemExit("sanitize: tsan needs --librdkafka or --prefix")
        command, folder = stress(kind, prefix.resolve(), cache), cache
    else:
        folder = build_kafkapp(kind, prefix and prefix.resolve(), cache)
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-p", "no:faulthandler",
                   "-o", "timeout=600", *(arguments.tests or SHORT)]
    env = {**environment(kind, prefix and prefix.resolve()), "PYTHONPATH": str(folder), **made}
    say(" ".join(map(str, [*before, *command])))
    return subprocess.run([*before, *map(str, command)], cwd=folder, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
