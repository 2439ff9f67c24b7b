"""A running build: one at a time in a folder, resumed, on full or read-only disks, with progress on the terminal."""
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import build_scripts
import pytest
import small_librdkafka

CSRC = build_scripts.FOLDER


@pytest.fixture
def load(monkeypatch):
    with build_scripts.imported(monkeypatch) as load:
        yield load


# -- one at a time -----------------------------------------------------------------------------------------------------

def test_a_second_build_in_a_folder_waits_and_says_so(load, tmp_path):
    code = "import sys, build_tools\nwith build_tools.lock(sys.argv[1]):\n    print('built', flush=True)"
    environment = {**os.environ, "PYTHONPATH": str(CSRC)}
    with load("build_tools").lock(tmp_path), load("build_tools").lock(tmp_path):    # the same process may again
        other = subprocess.Popen([sys.executable, "-c", code, tmp_path], env=environment, text=True, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        assert "another build is running in" in other.stderr.readline()
        assert select.select([other.stdout], [], [], 0.2)[0] == []
    assert other.communicate(timeout=60) == ("built\n", "")
    assert list(tmp_path.iterdir()) == []


# -- disks -------------------------------------------------------------------------------------------------------------

def test_temporary_files_go_where_there_is_room(load, tmp_path, monkeypatch):
    tools = load("build_tools")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    tools.have_room(tmp_path / "build")
    assert os.environ["TMPDIR"] == str(tmp_path)
    monkeypatch.setattr(tools.tempfile, "TemporaryFile", lambda: open("/dev/full", "wb"))
    tools.have_room(tmp_path / "build")
    assert os.environ["TMPDIR"] == str(tmp_path / "build" / "tmp")
    assert tools.tempfile.gettempdir() == str(tmp_path / "build" / "tmp")


@pytest.mark.parametrize(("error", "expected"), [
    (OSError(28, "No space left on device", "build/x"), "kafkapp: build/x: No space left on device"),
    (PermissionError(13, "Permission denied", "build"), "kafkapp: build: Permission denied"),
    (OSError("plain"), "kafkapp: plain"),
])
def test_what_a_machine_has_in_the_way_is_one_line(load, error, expected):
    with pytest.raises(SystemExit) as raised, load("build_tools").one_line():
        raise error
    assert raised.value.code == expected


@pytest.mark.parametrize("refused", [".", "build", "kafkapp.egg-info"])
def test_sources_that_cannot_be_written_are_built_in_a_copy(load, tmp_path, monkeypatch, refused, capfd):
    backend = load("kafkapp_build")
    for name in ("csrc/x.c", "build/old", "kafkapp.egg-info/PKG-INFO", "README.md", ".venv/bin/python", "tests/build/test.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / "README.md").chmod(0o444)
    monkeypatch.chdir(tmp_path)
    access = os.access
    monkeypatch.setattr(backend.os, "access", lambda path, mode: Path(path) != tmp_path / refused and access(path, mode))
    with backend.writable_place(editable=False):
        place = Path.cwd()
        assert place != tmp_path
        kept = sorted(str(file.relative_to(place)) for file in place.rglob("*") if file.is_file())
        assert kept == ["README.md", "csrc/x.c", "tests/build/test.py"]
        assert (place / "README.md").stat().st_mode & 0o200
    assert Path.cwd() == tmp_path and not place.exists()
    assert "is not writable: building in a copy" in capfd.readouterr().err
    with pytest.raises(load("build_tools").BuildError, match="an editable installation builds there"), \
            backend.writable_place(editable=True):
        pass


def test_sources_that_can_be_written_are_built_where_they_are(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with load("kafkapp_build").writable_place(editable=False):
        assert Path.cwd() == tmp_path


def test_a_wheel_has_nothing_of_an_earlier_layout(load, tmp_path, monkeypatch):
    for name in ("lib.linux-x86_64-cpython-311/kafkapp/old.so", "lib/kafkapp/old.py", "librdkafka-2.15.1/lib/librdkafka.so"):
        (tmp_path / "build" / name).parent.mkdir(parents=True)
        (tmp_path / "build" / name).touch()
    monkeypatch.chdir(tmp_path)
    found = load("kafkapp_build").hook(lambda: sorted(path.name for path in Path("build").rglob("*") if path.is_file()))()
    assert "librdkafka.so" in found and not {"old.so", "old.py"} & {*found}


# -- the modules -------------------------------------------------------------------------------------------------------

SETUP = """import os, sys
sys.path.insert(0, sys.argv.pop(1))
from kafkapp_build import build_ext
from setuptools import Extension, setup

build_ext.directives = {"language_level": 3}
build_ext.own_flags = {"kafkapp/two.pyx": ["-DOWN=2"]}
setup(name="kafkapp", version="0", packages=["kafkapp"], cmdclass={"build_ext": build_ext}, ext_modules=[
    Extension("kafkapp.one", ["csrc/shared.c", "kafkapp/one.pyx", "kafkapp/two.pyx"], include_dirs=["csrc"], extra_compile_args=["-DOF_ALL"])])
"""
PYX = """cdef extern from "shared.h":
    int counted()
cdef extern from "librdkafka/rdkafka.h":
    int rd_kafka_version()
cdef extern from *:
    '''
    #if !defined(OF_ALL)
    #error
    #elif !defined(OWN)
    #define OWN 1
    #endif
    '''
    int OWN
def count():
    return counted(), rd_kafka_version(), OWN
"""


@pytest.fixture
def package(load, tmp_path, monkeypatch):
    """Two modules and a C file, which are one shared object, and a compiler that keeps a list of what it compiled; gives what builds them."""
    builder = load("build_librdkafka")
    monkeypatch.setattr(load("patches"), "FOLDER", Path("no-patches"))
    for name in ("CC", "CFLAGS", "LDFLAGS", "CPPFLAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(builder, "SOURCES", (small_librdkafka.release(builder, tmp_path / "release.tar.gz"),))
    prefix = builder.make(tmp_path / "librdkafka")
    tree = tmp_path / "a tree"
    for name, text in {"setup.py": SETUP, "kafkapp/__init__.py": "", "kafkapp/one.pyx": PYX, "kafkapp/two.pyx": PYX,
                       "csrc/shared.h": "int counted(void);\n",
                       "csrc/shared.c": '#include "shared.h"\nint counted(void) { static int n; return ++n; }\n'}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    compiler = tmp_path / "my cc"
    compiler.write_text('#!/bin/sh\nfor word in "$@"; do case $word in *.c) echo "${word##*/}" >> "$COMPILED" ;; esac; done\n'
                        'if [ -n "$BREAKS" ] && [ "${*#*$BREAKS}" != "$*" ]; then exit 1; fi\nexec gcc "$@"\n')
    compiler.chmod(0o755)

    def build(**environment):
        (tmp_path / "compiled").write_text("")
        done = subprocess.run([sys.executable, "setup.py", CSRC, "-q", "build_ext", "--inplace"], cwd=tree, text=True, timeout=110,
                              capture_output=True, check=False, env={
                                  **os.environ, "KAFKAPP_LIBRDKAFKA": str(prefix), "CC": f"'{compiler}'",
                                  "COMPILED": str(tmp_path / "compiled"), **environment})
        compiled = sorted(name for name in (tmp_path / "compiled").read_text().split() if name not in ("works.c", "links.c"))
        return done, compiled, tree

    return build


def imported(tree, code):
    code = f"import sys; sys.path.insert(0, {str(tree)!r}); {code}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_c_file_is_compiled_once_and_its_state_is_there_once(package):
    done, compiled, tree = package()
    assert done.returncode == 0, done.stderr
    assert compiled == ["one.c", "shared.c", "two.c"]
    code = """from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec
from kafkapp import one
two = module_from_spec(ModuleSpec("kafkapp.two", ExtensionFileLoader("kafkapp.two", one.__file__), origin=one.__file__))
two.__loader__.exec_module(two)
print(one.count(), one.count(), two.count())"""
    told = imported(tree, code)
    assert told.split(") ") == [f"(1, {0x020f01ff}, 1", f"(2, {0x020f01ff}, 1", f"(3, {0x020f01ff}, 2)\n"]
    assert package()[1] == []                                           # nothing to do
    assert package(CFLAGS="-DX")[1] == ["one.c", "shared.c", "two.c"]   # other flags, other objects
    (tree / "csrc" / "shared.h").write_text("int counted(void);\n#define MORE\n")
    assert package(CFLAGS="-DX")[1] == ["one.c", "shared.c", "two.c"]
    generated = tree / "build" / "kafkapp" / "one.c"
    generated.with_name("one.c.made").unlink()                          # interrupted in the middle of it
    generated.write_text("#error half of it\n")
    done, compiled, tree = package(CFLAGS="-DX")
    assert (done.returncode, compiled) == (0, []), done.stderr          # Cython's again, and the same as before
    generated.write_text("#error half of it, written over one that was whole\n")
    done, compiled, tree = package(CFLAGS="-DX")
    assert (done.returncode, compiled) == (0, []), done.stderr


def test_a_build_that_fails_is_taken_up_where_it_failed(package):
    done, compiled, tree = package(BREAKS="kafkapp/two.c")
    assert done.returncode != 0 and "two.c" in compiled
    assert not (tree / "kafkapp" / "librdkafka.txt").exists()
    done, again, tree = package()
    assert done.returncode == 0 and "two.c" in again
    assert set(compiled) & set(again) <= {"two.c", *(name for name in compiled if compiled.count(name) > 1)} | {"one.c", "shared.c"}
    assert imported(tree, "import kafkapp.one") == ""


def test_what_an_earlier_build_has_placed_goes(load, tmp_path, monkeypatch):
    """One of another librdkafka, or one with a file for each module; not what belongs to another Python."""
    backend = load("kafkapp_build")
    stay = ["_modules.cpython-311-x86_64-linux-gnu.so", "_modules.cpython-313t-x86_64-linux-gnu.so", "client/handle.pyx", "__init__.py"]
    go = ["librdkafka-1.so", "librdkafka-LICENSES.txt", "libkafkapp-3.11-0123.so", "client/handle.cpython-311-x86_64-linux-gnu.so",
          "client/handle.cpython-313t-x86_64-linux-gnu.so"]
    for name in (*stay, *go):
        (tmp_path / "kafkapp" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "kafkapp" / name).touch()
    new = tmp_path / "librdkafka-2.so"
    new.write_text("new")
    backend.build_ext.place(SimpleNamespace(library=SimpleNamespace(files=(new,), verdict=lambda: "verdict")), tmp_path / "kafkapp")
    found = {str(file.relative_to(tmp_path / "kafkapp")) for file in (tmp_path / "kafkapp").rglob("*") if file.is_file()}
    assert found == {*stay, "librdkafka-2.so", "librdkafka.txt"}


# -- progress ----------------------------------------------------------------------------------------------------------

CHILD = """import progress
progress.begin()
progress.line("kafkapp: fetching")
progress.PROGRESS.expect("files", 4, 1)
progress.PROGRESS.expect("modules", 2, 2)
for _ in range(4):
    progress.MOST_OFTEN = 0
    progress.PROGRESS.step("files")
"""
PARENT = """import subprocess, sys
print("  Building wheel ... ", end="", flush=True)
stdout = None if sys.argv[1] == "seen" else subprocess.PIPE
done = subprocess.run([sys.executable, "-c", sys.argv[2]], stdout=stdout, stderr=stdout and subprocess.STDOUT)
print("done", flush=True)
"""


def on_a_terminal(*arguments, shell="", **environment):
    """What a terminal of its own shows of PARENT, which hides what its child says, as pip does."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.pop("CI", None)
        os.environ.update({"TERM": "xterm", "PYTHONPATH": str(CSRC), **environment})
        command = [sys.executable, "-c", PARENT, *arguments]
        os.execvp("sh", ["sh", "-c", '"$@"' + shell, "sh", *command])
    text = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:     # Linux: the other side is closed
            break
        if not data:
            break
        text += data
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0
    return text.decode()


def test_a_terminal_that_hides_the_build_shows_how_far_it_is():
    shown = on_a_terminal("hidden", CHILD)
    lines = shown.split("\r\x1b[K")
    assert lines[0] == "  Building wheel ... " and lines[1] == "  kafkapp: fetching ...  "
    assert lines[2:5] == [f"  kafkapp: {part} % built: files {done} of 4, modules 0 of 2 ...  " for part, done in ((12, 1), (25, 2), (37, 3))]
    assert lines[5].strip() == "kafkapp: 50 % built: files 4 of 4, modules 0 of 2 ...  done"


@pytest.mark.parametrize(("arguments", "keywords", "seen"), [
    (("hidden", CHILD), {"CI": "true"}, ""),                        # a log
    (("hidden", CHILD), {"TERM": "dumb"}, ""),
    (("hidden", CHILD, "--verbose"), {}, ""),                       # pip shows it all
    (("hidden", CHILD, "-vv"), {}, ""),
    (("hidden", CHILD), {"shell": " >/dev/null 2>&1"}, ""),         # all output is discarded
    (("hidden", CHILD), {"shell": " | cat"}, ""),
    (("seen", CHILD), {}, "kafkapp: fetching\r\n"),                 # once, as lines
])
def test_nothing_is_written_over_where_it_would_be_seen_twice_or_by_nobody(arguments, keywords, seen):
    shown = on_a_terminal(*arguments, **keywords)
    assert "\x1b[K" not in shown
    assert seen in shown


def test_progress_lines_report_every_tenth_and_never_go_back(load, capfd):
    progress = load("progress").Progress()
    progress.expect("a", 50, 1)
    for _ in range(20):
        progress.step("a")
    progress.expect("b", 50, 1)     # expected only now: what was built stays built
    for _ in range(30):
        progress.step("a")
    for _ in range(50):
        progress.step("b")
    expected = [int(line.split()[1]) for line in capfd.readouterr().err.splitlines()]
    assert expected == sorted(expected) and expected[-1] == 100 and len(expected) <= 10
    assert re.fullmatch(r"100 % built: a 50 of 50, b 50 of 50", progress.text(1))


def test_a_narrow_terminal_is_not_wrapped(load, monkeypatch):
    progress, written = load("progress"), []
    monkeypatch.setattr(progress, "write", lambda terminal, text: written.append(text))
    monkeypatch.setattr(progress, "foreground", lambda terminal: True)
    shown = progress.Progress()
    shown.terminal, shown.width = 0, 30
    shown.show("x" * 100)
    assert len(written[0].removeprefix("\r\x1b[K")) < 30
    monkeypatch.setattr(progress, "foreground", lambda terminal: False)     # would be stopped for it
    shown.show("x")
    assert len(written) == 1


def test_a_python_whose_own_compiler_is_not_here_is_built_for_with_the_one_that_is(load, monkeypatch):
    backend = load("kafkapp_build")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(backend.sysconfig, "get_config_var", lambda name: "no-such-clang -pthread")
    backend.build_ext.find_compiler(None)
    assert shutil.which(os.environ.pop("CC"))
