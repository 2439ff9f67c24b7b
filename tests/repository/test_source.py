"""The sources: layers of imports, exact stubs, clean linters, no compiler warnings, sizes of files.

Walks the tree, since it may have come without git. CI has every tool, so there nothing is skipped.
"""
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from fnmatch import fnmatch
from pathlib import Path

import pytest

import kafkapp

pytestmark = pytest.mark.timeout(600)    # what the tools take on a busy machine, mypy most of all

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = Path(kafkapp.__file__).parent
MOST_LINES = 450
# 450 lines are a reason to look whether a file is still one idea. These are, and say how long they may be.
LONGER: dict[str, int] = {}
NOT_OURS = {".git", ".venv", "build", "dist", "__pycache__", "node_modules"}

# From the bottom up. A room may import from those in the rows above its own, and from itself.
LAYERS = [
    {"_librdkafka", "_modules"},
    {"common"},
    {"config"},
    {"client"},
    {"producer", "consumer", "admin"},
    {"__init__", "aio", "stats", "testing", "typing"},
    {"opentelemetry", "prometheus"},
    {"bench", "cli"},
    {"__main__", "__pyinstaller"},
]
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+c?import[ \t]+([\w, \t]+|[(*])|c?import[ \t]+([\w. ,\t]+))", re.M)


def ours(path):
    parts = path.relative_to(ROOT).parts
    return not (NOT_OURS & {parts[0], *parts[2:]})     # tests/build is


def files(*folders, suffixes):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file() and ours(path):
                yield path


def generated(path):
    """Cython's output, if it was left beside its source."""
    return path.suffix == ".c" and path.parent != ROOT / "csrc"


def room_of(path):
    """`kafkapp/bench/case.py` is in `bench`; `kafkapp/__main__.py` is a room by itself."""
    return path.relative_to(ROOT / "kafkapp").parts[0].split(".")[0]


def imports(path, text):
    """The rooms that a file imports from, however late it does."""
    bare = re.sub(r'("""|\'\'\')(?:.|\n)*?\1', "", text)
    for match in IMPORT.finditer(bare):
        origin, names, modules = match.groups()
        if modules is not None:
            for module in modules.split(","):
                parts = module.split()[0].split(".") if module.split() else [""]
                if parts[0] == "kafkapp":
                    yield parts[1] if len(parts) > 1 else "__init__"
            continue
        parts = origin.split(".")
        if origin.startswith("."):
            here = ("kafkapp", *path.relative_to(ROOT / "kafkapp").parts[:-1])
            full = [*here[:len(here) + 1 - len(origin) + len(origin.lstrip("."))], *filter(None, parts)]
            if len(full) > 1:
                yield full[1]
                continue
            parts, origin = full, "kafkapp"
        if parts[0] == "kafkapp" and len(parts) > 1:
            yield parts[1]
        elif origin == "kafkapp":
            for name in names.split(","):
                name = name.strip().split(" ")[0]
                yield name if name in LAYER else "__init__"


def upward(path, text):
    """The imports of a file that do not go downwards."""
    room = room_of(path)
    for name in imports(path, text):
        if name != room and LAYER.get(name, 0) >= LAYER[room]:
            yield f"{path.relative_to(ROOT)} imports {name}"


def test_every_file_is_in_a_room():
    rooms = {room_of(path) for path in files("kafkapp", suffixes=(".py", ".pyx", ".pxd"))}
    assert rooms <= set(LAYER), f"to be given a row in LAYERS: {rooms - set(LAYER)}"
    assert {path.name for path in (ROOT / "kafkapp").glob("*.p*") if path.is_file()} == {"__init__.py", "__main__.py", "_modules.pyi", "_modules.pyx"}


def test_imports_go_downwards():
    sources = list(files("kafkapp", suffixes=(".py", ".pyx", ".pxd", ".pyi")))
    found = {name for path in sources for name in imports(path, path.read_text())}
    assert {"_librdkafka", "common", "config", "client", "producer", "testing", "__init__"} <= found    # they are seen at all
    assert [line for path in sources for line in upward(path, path.read_text())] == []


@pytest.mark.parametrize("line", ["from kafkapp.client.client cimport Client", "    from kafkapp.producer.producer import x", "import kafkapp.client.client",
                                  "from kafkapp import KafkaAsyncProducer", "from kafkapp.client.client cimport *", "cimport kafkapp.client.client",
                                  "from kafkapp import (\n    x)", "from .. import client", "from ..client import x", "from .. import Batch",
                                  "import os, kafkapp.client.client as c"])
def test_an_import_upwards_would_be_found(line):
    assert list(upward(ROOT / "kafkapp/common/views.pyx", f'"""Text."""\nimport os\n{line}\n')), line
    assert not list(upward(ROOT / "kafkapp/common/views.pyx", f'"""Text.\n\n{line}\n"""\nfrom kafkapp.common.errors cimport x\n'))


# What only a producer has. Its share of csrc/ is in delivery.c, report_drain.c, batch.c and produce.c.
PRODUCERS = re.compile(r"producer|produce\b|deliver|flush|purge|transaction|RD_KAFKA_EVENT_DR", re.I)
ANY_CLIENTS = ["csrc/dispatcher.c", "csrc/dispatcher.h", "csrc/kept.c", "csrc/destroy.c", "csrc/destroy.h"]


def test_a_client_knows_no_producer():
    sources = [*files("kafkapp/client", suffixes=(".py", ".pyx", ".pxd", ".pyi")), *(ROOT / name for name in ANY_CLIENTS)]
    assert len(sources) > 20
    assert [f"{path.relative_to(ROOT)}:{number}: {line.strip()}" for path in sources
            for number, line in enumerate(path.read_text().splitlines(), 1) if PRODUCERS.search(line)] == []


def test_both_ends_of_the_top_keep_apart():
    imported = {module: {name for path in files("kafkapp", suffixes=(".py", ".pyx", ".pxd")) if room_of(path) == module
                         for name in imports(path, path.read_text())} for module in ("producer", "testing")}
    assert imported["producer"] > {"client"} and imported["testing"] > {"common"}
    assert "testing" not in imported["producer"] and "producer" not in imported["testing"]


# -- stubs -------------------------------------------------------------------------------------------------------------

def test_every_compiled_module_is_typed():
    assert (INSTALLED / "py.typed").exists()
    for name in ("kafkapp._modules", *kafkapp._modules.NAMES):
        assert (INSTALLED.parent / name.replace(".", "/")).with_suffix(".pyi").exists(), f"{name} has no stub"


def test_no_two_files_of_the_package_are_the_same():
    """Of which check-wheel-contents would complain; each stub names its module."""
    seen = {}
    for path in files("kafkapp", suffixes=(".py", ".pyi", ".pxd")):
        text = path.read_text()
        assert not text or text not in seen, f"{path} is {seen[text]}"
        seen[text] = path


# Programs that are not imported; a class whose base is of a package that may be there; what stubtest cannot see: a class inside a
# function, and overloads with other names, which behaviour/test_topic_calls.py calls; and what only raises, which no type checker
# shall accept.
ALLOWED = r"""
kafkapp\.bench\.clients\..*
kafkapp\.__main__
kafkapp\.bench\.__main__
kafkapp\.cli\.tally\.Outcome@\d+
kafkapp\.opentelemetry\.instrumentor\.(Base|KafkaInstrumentor)(\..*)?
kafkapp\.producer\.async_producer\.KafkaAsyncProducer\.(try_send|send|send_future)
kafkapp\.producer\.sync_producer\.KafkaSyncProducer\.send
kafkapp\.aio\.outbox\.ProducerBase\.(try_send|send)
kafkapp\.producer\.producer\.Producer\.__(aenter|aexit|await)__
"""


def run(*command, path=None):
    """Run a tool of this Python's environment; its output must be empty of complaints."""
    scripts = os.pathsep.join([str(Path(sys.executable).parent), sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": scripts} | ({"PYTHONPATH": str(path)} if path else {})
    process = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=500)
    assert process.returncode == 0, process.stdout + process.stderr


def test_stubs_are_exact(tmp_path):
    allowed = tmp_path / "allowed"
    allowed.write_text(ALLOWED)
    run(sys.executable, "-m", "mypy.stubtest", "kafkapp", "--mypy-config-file", str(ROOT / "pyproject.toml"),
        "--allowlist", str(allowed), "--ignore-unused-allowlist", path=INSTALLED.parent)


# -- linters and the compiler ------------------------------------------------------------------------------------------

def test_python_is_clean():
    run(sys.executable, "-m", "ruff", "check", "--no-cache", ".")


def test_cython_is_clean():
    run("cython-lint", "kafkapp")


def include_folders():
    """Where rdkafka.h is: the installed one, or that of our own build."""
    try:
        flags = subprocess.run(["pkg-config", "--cflags", "rdkafka"], text=True, capture_output=True, check=True).stdout
        return flags.replace("-I", "-isystem").split()      # its warnings are not ours
    except (OSError, subprocess.CalledProcessError):
        found = [path for path in (ROOT / "build").rglob("rdkafka.h") if path.parent.name == "librdkafka"]
        return [f"-isystem{found[0].parent.parent}"] if found else None


def python_includes():
    folders = [Path(sysconfig.get_path("include")), *(ROOT / "build").glob("python*-headers/usr/include/python*")]
    folders = [folder for folder in folders if (folder / "Python.h").exists()]
    return [f"-isystem{part}" for part in (folders[0], folders[0].parent)] if folders else None


def need(what, missing):
    if what is None:
        assert not os.environ.get("CI"), f"CI has {missing}"
        pytest.skip(f"no {missing} here")
    return what


@pytest.mark.parametrize("source", sorted(path.name for path in (ROOT / "csrc").glob("*.c")))
def test_c_has_no_warnings(source):
    compiler = need(shutil.which("gcc") or shutil.which("cc"), "C compiler")
    flags = need(python_includes(), "Python.h") + need(include_folders(), "rdkafka.h")
    run(compiler, "-fsyntax-only", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wvla", "-Wundef",
        "-Wstrict-prototypes", "-Wmissing-prototypes", "-Werror", *flags, f"csrc/{source}")


# -- files -------------------------------------------------------------------------------------------------------------

OWN = (".py", ".pyx", ".pxd", ".pyi", ".c", ".h")


def test_files_are_short():
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines())
             for path in files("kafkapp", "csrc", "tests", suffixes=OWN) if not generated(path)}
    assert len(sizes) > 50
    assert {name: size for name, size in sizes.items() if size > LONGER.get(name, MOST_LINES)} == {}
    assert [name for name in LONGER if sizes.get(name, 0) <= MOST_LINES] == [], "short enough now: take it out of LONGER"


def test_pytest_passes_over_no_folder_of_tests(pytestconfig):
    folders = {part for path in (ROOT / "tests").rglob("test_*.py") for part in path.relative_to(ROOT).parts[:-1]}
    assert {"build", "unit"} <= folders
    assert [folder for folder in folders for pattern in pytestconfig.getini("norecursedirs") if fnmatch(folder, pattern)] == []


def test_files_say_what_they_are():
    for path in files("kafkapp", "csrc", "tests", suffixes=tuple(set(OWN) - {".pyi"})):
        if not generated(path) and path.stat().st_size:
            assert re.match(r'(?:#!.*\n)?(?:"""|#|/\*)', path.read_text()), path


# Written so that this file does not hold what it looks for.
FORBIDDEN = {
    "an absolute path of a machine": re.compile(r"(?<![\w.}$/<])/(?:work|home|root|Users)/\w"),
    "the host of a registry": re.compile(r"\b(?:pypi\.(?:org|python\.org)|files\.python" r"hosted\.org|registry\.npm" r"js\.org|"
                                         r"repo1?\.maven\.(?:org|apache\.org)|proxy\.golang\.org|crates\.io|conda\.anaconda\.org)",
                                         re.I),
}


def tracked():
    """Every text file of the tree that is ours."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if path.is_file() and ours(path) and not any(part.endswith("_cache") or part.endswith(".egg-info")
                                                                    or part == ".hypothesis" for part in parts):
            if path.name.startswith("librdkafka") and path.suffix == ".txt" or path.suffix == ".so" or generated(path):
                continue
            try:
                yield path, path.read_text()
            except UnicodeDecodeError:
                continue


def test_no_file_names_a_machine_or_a_registry():
    found = [f"{path.relative_to(ROOT)}: {what}: {match.group()}" for path, text in tracked()
             for what, pattern in FORBIDDEN.items() for match in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize("text", ["cd /wo" "rk/main", 'open("/ro" "ot/x")'.replace('" "', ""), "https://py" "pi.org/simple", "/ho" "me/x"])
def test_such_a_name_would_be_found(text):
    assert any(pattern.search(text) for pattern in FORBIDDEN.values())
