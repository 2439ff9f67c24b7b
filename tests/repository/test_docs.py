"""The code of the quick start and of the guide runs, and prints what they say that it prints.

The python blocks below a heading share a namespace, which has BOOTSTRAP; the text blocks below it are what they print,
where `...` stands for anything. Words after `python` say what else is done with a block: `no-run`, it needs what no test
has (a real cluster, AWS, a web server) and is compiled, and its names looked up; `program`, it is a file of its own; `pytest`, a file of tests.
Blocks in other languages are for the reader.
"""
import ast
import asyncio
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import LIBRDKAFKA, ROOT
from test_source import LAYERS

import kafkapp
from kafkapp import ErrorCode

FENCE = re.compile(r"^```(\w*)( [\w-]+)?$")
PAGES = [ROOT / "docs" / "quickstart.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
FRONT = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES, *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s#]+)?(#[\w-]+)?\)")


class Section:
    """A heading of a page, with its blocks: (first line, code) each."""

    def __init__(self, page, heading):
        self.page, self.name = page, f"{page.stem}: {heading}"
        self.blocks = {"run": [], "no-run": [], "program": [], "pytest": [], "text": []}

    @property
    def code(self):
        return self.blocks["run"]

    @property
    def output(self):
        return "".join(text for _, text in self.blocks["text"])


def sections(page):
    found, kind, start, lines = [], None, 0, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if kind is None and line.startswith("#"):
            found.append(Section(page, line.lstrip("# ")))
        elif kind is None and fence:
            language, how = fence[1], (fence[2] or " run").strip()
            kind, start, lines = how if language == "python" else language, number + 1, []
        elif line == "```":
            if kind in found[-1].blocks:
                found[-1].blocks[kind].append((start, "\n".join(lines) + "\n"))
            kind = None
        else:
            lines.append(line)
    assert kind is None, f"{page.name}: the block at line {start} has no end"
    return found


SECTIONS = [section for page in PAGES for section in sections(page)]


def of(*kinds):
    return pytest.mark.parametrize("section", [section for section in SECTIONS if any(section.blocks[kind] for kind in kinds)],
                                   ids=lambda section: section.name)


def as_it_stands(start, text):
    """With the lines of its page, for tracebacks."""
    return "\n" * (start - 1) + text


@of("run")
def test_the_code_runs_and_prints_what_the_page_says(broker, capsys, section):
    namespace = {"BOOTSTRAP": broker.bootstrap_servers, "__name__": "__main__"}
    for start, text in section.code:
        exec(compile(as_it_stands(start, text), str(section.page), "exec"), namespace)      # noqa: S102 - it is ours
    assert_printed(section, capsys.readouterr().out)


def assert_printed(section, printed):
    assert re.fullmatch(re.escape(section.output).replace(r"\.\.\.", ".*?"), printed, re.DOTALL), printed


@of("program")
def test_the_programs_print_what_the_page_says(broker, tmp_path, section):
    [(_, text)] = section.blocks["program"]
    (tmp_path / "program.py").write_text(f"BOOTSTRAP = {broker.bootstrap_servers!r}\n{text}")
    result = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in result.stderr, result.stderr
    assert_printed(section, result.stdout)


def test_the_readme_sends_and_reads(broker, capsys):
    """Its code is for a broker on its reader's machine."""
    sending, reading = [section for section in sections(ROOT / "README.md") if section.code]
    (start, text), (_, in_loop) = sending.code
    [(_, reads)] = reading.code
    assert text.count("localhost:9092") == reads.count("localhost:9092") == 1
    text, names = as_it_stands(start, text.replace("localhost:9092", broker.bootstrap_servers)), {}
    exec(compile(text, "README.md", "exec"), names)     # noqa: S102 - it is ours
    asyncio.run(eval(compile(in_loop, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names))     # noqa: S307
    assert names["metadata"].key_size == 2
    assert re.fullmatch(r"orders-\d@\d+,\S+\[.*\],Persisted\n3 \[\] \[\d+, \d+, \d+\]\n", capsys.readouterr().out)
    exec(compile(reads.replace("localhost:9092", broker.bootstrap_servers), "README.md", "exec"), names)     # noqa: S102
    assert re.fullmatch(r"(\d \d+ (42 two of them|\[null\] (line \d+|\w+)|order-1 two apples)\n)+", capsys.readouterr().out)


@of("pytest")
def test_the_tests_of_the_guide_pass(tmp_path, section):
    for number, (_, text) in enumerate(section.blocks["pytest"]):
        (tmp_path / f"test_of_the_guide_{number}.py").write_text(text)
    result = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path], cwd=tmp_path,
                            capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0 and " passed" in result.stdout, result.stdout + result.stderr


# -- what is not run ---------------------------------------------------------------------------------------------------

def unknown(tree):
    """The names of kafkapp's that a program uses and that are not there, or not as it uses them."""
    known = {"kafkapp": kafkapp}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kafkapp":
            module = importlib.import_module(node.module)
            for name in node.names:
                if hasattr(module, name.name):
                    known[name.asname or name.name] = getattr(module, name.name)
                else:
                    yield f"{node.module}.{name.name}"
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "kafkapp":
                    importlib.import_module(name.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
            if not hasattr(known[node.value.id], node.attr):
                yield f"{node.value.id}.{node.attr}"


def undefined(text):
    """What the linter says of names that nobody has defined."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F811,E9", "--output-format", "concise", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


@of("no-run")
def test_the_code_that_is_not_run_compiles_and_its_names_exist(section):
    text = "".join(text for kind in ("run", "no-run") for _, text in section.blocks[kind])
    assert list(unknown(ast.parse(text))) == []
    pytest.importorskip("ruff")
    result = undefined("BOOTSTRAP = ''\n" + text)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_name_that_is_not_there_is_found():
    assert list(unknown(ast.parse("from kafkapp import Nobody"))) == ["kafkapp.Nobody"]
    assert list(unknown(ast.parse("from kafkapp import ErrorCode\nErrorCode.NONE"))) == ["ErrorCode.NONE"]
    assert list(unknown(ast.parse("import kafkapp.aio\nkafkapp.aio.KafkaProducer"))) == []
    pytest.importorskip("ruff")
    assert undefined("print(nobody)\n").returncode == 1


# -- what the pages name -----------------------------------------------------------------------------------------------

def test_every_block_of_python_is_found():
    for page in PAGES:
        of_page = [section for section in SECTIONS if section.page == page]
        assert sum(len(section.blocks[kind]) for section in of_page for kind in ("run", "no-run", "program", "pytest")) \
            == page.read_text().count("\n```python"), page.name
    assert len([section for section in SECTIONS if section.code]) >= 14


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_error_that_is_named_exists(page):
    assert set(re.findall(r"\bRD_KAFKA_RESP_ERR\w*", page.read_text())) <= {*ErrorCode.__members__, "RD_KAFKA_RESP_ERR_", "RD_KAFKA_RESP_ERR__"}


OF_BROKERS = {"auto.create.topics.enable", "min.insync.replicas", "advertised.listeners"}
NEWER = {"client.dns.lookup", "fetch.queue.backoff.ms", "group.protocol", "max.poll.records"}
OF_OTHERS = {"enable.manual.events.poll", "sasl.jaas.config", "key.serializer", "max.message.bytes"}      # the C++ API's, Java's, topics'
PROPERTY = re.compile(r"`([a-z]+(?:\.[a-z]+)+)(?:=[^`]*)?`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_property_that_is_named_exists(page):
    named = {name for name in PROPERTY.findall(page.read_text()) if not named_elsewhere(name)} - OF_BROKERS - OF_OTHERS
    if LIBRDKAFKA == (2, 0, 2):
        named -= NEWER
    assert [name for name in named if not is_property(name)] == []


def is_property(name):
    """Whether librdkafka knows the name, or a client of kafkapp's: what they say of a value that suits hardly any."""
    for kind in (kafkapp.KafkaSyncProducer, kafkapp.KafkaConsumer):
        try:
            kind({"bootstrap.servers": "127.0.0.1:1", "log_level": 0, name: "no value"}).close(0)
        except kafkapp.KafkaException as exc:
            if "No such configuration property" in exc.error.message:
                continue
        return True
    return False


def test_a_property_that_is_not_there_is_found():
    assert is_property("transactional.id") and is_property("acks") and not is_property("batch.sise")


def named_elsewhere(name):
    """Whether it is no property, but an object's or a file: `batch.wait`, `sys.unraisablehook`, `kafkapp.aio`."""
    return name.split(".")[0] in OBJECTS or name.rpartition(".")[2] in SUFFIXES


OBJECTS = {"sys", "statistics", "kafkapp", "batch", "asyncio", "logging", "os", "producer", "record", "metadata", "error", "future", "exc", "cluster"}
SUFFIXES = {"py", "md", "toml", "c", "h"}


@pytest.mark.parametrize("page", sorted(set(FRONT)), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target, anchor in LINK.findall(text):
        if not target.startswith(("http:", "https:")):
            file = page.parent / target if target else page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target + anchor


def anchors(file):
    """Of the headings, as GitHub and MyST name them."""
    headings = re.findall(r"^#+ (.*)", file.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


# -- troubleshooting ---------------------------------------------------------------------------------------------------

def messages():
    """The pieces of each message of the page, between what differs."""
    page = (ROOT / "docs" / "guide" / "troubleshooting.md").read_text()
    for row in re.findall(r"^\| (.*?) \|", page, re.MULTILINE):
        for message in re.findall(r"``` (.+?) ```|`([^`]+)`", row):
            yield from [piece.strip() for piece in "".join(message).split("...") if len(piece.strip()) > 1]


def strings():
    """What can say them: the strings of our sources, joined where they go on in the next line, and of the linked librdkafka."""
    for suffix in ("py", "pyx"):
        for path in sorted((ROOT / "kafkapp").rglob(f"*.{suffix}")):
            text = re.sub(r"\{[\w.]*service\.name\}", "producer", path.read_text())     # of whose service it is
            yield from re.findall(r'"((?:[^"\\\n]|\\.)*)"', re.sub(r'"\s*\n\s*f?"', "", text))
    for file in {line.split(maxsplit=5)[5] for line in Path("/proc/self/maps").read_text().splitlines() if "/librdkafka" in line}:
        if Path(file).exists():     # another test may have loaded one of its own
            yield from re.findall(r"[ -~]{6,}", Path(file).read_bytes().decode("latin-1"))


def patterns():
    """The strings with their {fields} and %s cut out: literal parts, which stand in a message in this order."""
    for string in set(strings()):
        parts = re.split(r"\{[^{}]*\}|%[.*\d]*l?[a-zA-Z]", string.replace('\\"', '"'))
        if len(parts) > 1 and sum(map(len, parts)) > 12:
            yield list(filter(None, parts))


def in_order(parts, message):
    place = 0
    for part in parts:
        place = message.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


PYTHONS = {"object NoneType can't be used in 'await' expression", "a coroutine was expected, got <SendFuture for orders: pending>"}


@pytest.mark.skipif(sys.platform != "linux", reason="finds the linked librdkafka in /proc")
def test_every_message_that_is_explained_can_be_said():
    found, literal, with_fields = set(messages()) - PYTHONS, "\0".join(strings()).replace('\\"', '"'), list(patterns())
    assert len(found) > 50
    missing = {message for message in found if message not in literal}
    assert sorted(message for message in missing if not any(in_order(parts, message) for parts in with_fields)) == []


def test_a_message_that_nobody_says_is_found():
    assert in_order(["too large: ", " bytes"], "it is too large: 5 bytes") and not in_order(["b", "a"], "ab")


# -- where things are --------------------------------------------------------------------------------------------------

MAPS = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "internals" / "architecture.md"]


@pytest.mark.parametrize("page", MAPS, ids=lambda page: page.stem)
def test_the_picture_is_that_of_the_layers(page):
    picture = page.read_text().partition("```text\n")[2].partition("\n```")[0].splitlines()
    rows = [set(re.split(r"\s{3,}", line)[0].split()) | set(re.findall(r"^\w+ +(\w+)", line)) for line in picture]
    folders = {path.name for path in (ROOT / "kafkapp").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert set().union(*rows) >= folders
    there = [(row & (folders | {"__main__"})) for row in LAYERS]
    assert [row & (folders | {"__main__"}) for row in reversed(rows)] == [row for row in there if row]


@pytest.mark.parametrize("page", MAPS, ids=lambda page: page.stem)
def test_every_file_that_is_named_is_there(page):
    named = {name for name in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", page.read_text()) if "NAME" not in name}
    assert len(named) > 5
    assert sorted(name for name in named if not any((place / name).exists() for place in (ROOT, ROOT / "kafkapp"))) == []
