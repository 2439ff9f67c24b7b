"""Functions are short: over 60 lines of code or 15 branches one is divided, or a comment says why it is one.

The sentence begins with "Long because" and stands in the function or in the comment above it. Lines are counted without
comments, docstrings and empty ones; a branch is a statement that chooses or repeats, and each `and`, `or` and `?` in it.
"""
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES, MOST_BRANCHES = 60, 15
REASON = re.compile(r"\bLong because\s+\w")

PYTHON = re.compile(r"^( *)(?:async )?(?:def|cpdef|cdef(?! (?:class|struct|enum|extern|union)\b)) ?[^=#]*?\b(\w+)\(")
PYTHON_BRANCH = re.compile(r"^ *(?:if|elif|for|async for|while|except|case)\b|\b(?:and|or)\b", re.M)
C = re.compile(r"^(?!typedef|struct|enum|union|#|\s|/|\}).*?\b(\w+)\(")
C_BRANCH = re.compile(r"\b(?:if|for|while|case)\b|\?|&&|\|\|")


def python_functions(text):
    """Name, code and all text of each function of a .py or .pyx file, those within others included."""
    lines = text.split("\n")
    for first, line in enumerate(lines):
        match = PYTHON.match(line)
        if not match:
            continue
        depth, body = 0, first
        while body < len(lines):            # to the end of the header
            depth += lines[body].count("(") - lines[body].count(")")
            body += 1
            if not depth:
                break
        if not re.search(r":\s*(?:#.*)?$", lines[body - 1]):
            continue                        # a declaration
        last = body
        while last < len(lines) and (not lines[last].strip() or lines[last].startswith(match[1] + " ")):
            last += 1
        whole = "\n".join(lines[first:last])
        code = re.sub(r'"""(?:.|\n)*?"""', "", whole)
        code = re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', '""', code)
        yield match[2], re.sub(r" *#.*", "", code), above(lines, first, "#") + whole


def c_functions(text):
    lines = re.sub(r"__attribute__\(\(\w+\)\) ", "", text).split("\n")
    first = None
    for number, line in enumerate(lines):
        if line[:1].strip() and not line.startswith("{"):
            first = number if C.match(line) else None
        elif line.startswith("{"):
            continue
        if first is None or not line.endswith("{") or not (number == first or re.match(r" +\S", line)):
            continue
        last = lines.index("}", number) if "}" in lines[number:] else len(lines)
        whole = "\n".join(lines[first:last])
        code = re.sub(r"/\*(?:.|\n)*?\*/", "", re.sub(r'"(?:\\.|[^"\\\n])*"', '""', whole))
        yield C.match(lines[first])[1], code, above(lines, first, " *", "/*") + whole
        first = None


def above(lines, first, *starts):
    """The comment directly above a line."""
    start = first
    while start and lines[start - 1].startswith(starts):
        start -= 1
    return "\n".join(lines[start:first]) + "\n"


def too_long(path, text):
    """The functions of a file that are over a limit, and have no reason."""
    in_c = path.suffix in (".c", ".h")
    for name, code, whole in (c_functions if in_c else python_functions)(text):
        size = sum(bool(line.strip()) for line in code.split("\n"))
        branches = len((C_BRANCH if in_c else PYTHON_BRANCH).findall(code))
        if (size > MOST_LINES or branches > MOST_BRANCHES) and not REASON.search(whole):
            yield f"{path.name}: {name}: {size} lines, {branches} branches"


def sources():
    for folder, suffixes in (("kafkapp", (".py", ".pyx", ".pxd")), ("csrc", (".c", ".h")), ("build_support", (".py",))):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and "__pycache__" not in path.parts:
                yield path


def test_functions_are_short():
    counted = {path: path.read_text() for path in sources()}
    assert [line for path, text in counted.items() for line in too_long(path, text)] == []


@pytest.mark.parametrize(("name", "functions"), [
    ("kafkapp/producer/send.pyx", {"enqueue", "unpack", "too_large_error"}), ("csrc/batch.c", {"kp_batch_send", "item_at"}),
    ("csrc/delivery.h", {"kp_epoch_at"}), ("kafkapp/aio/producer.py", {"send_batch", "close"}),
    ("build_support/patches.py", {"changes"})])
def test_functions_are_seen(name, functions):
    path = ROOT / name
    seen = (c_functions if path.suffix in (".c", ".h") else python_functions)(path.read_text())
    assert functions <= {function for function, _, _ in seen}


LONG = {
    "lines.pyx": "cdef inline int f(object a,\n                  int b) except -1:\n" + "    a = b\n" * 60,
    "branches.py": "class C:\n    async def f(self):\n" + "        if a and b:\n            c()\n" * 8,
    "lines.c": "static int f(int a,\n             int b) {\n" + "    a = b;\n" * 59 + "}\n",
    "branches.h": "int f(int a) {\n" + "    a = a && b ? 1 : 2;\n" * 8 + "}\n",
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_function_would_be_found(name):
    path, text = Path(name), LONG[name]
    comment = "/* A label. Long because it is a table. */\n" if path.suffix in (".c", ".h") else "# Long because it is a table.\n"
    assert list(too_long(path, text)), text
    if not text.startswith("class"):
        assert not list(too_long(path, comment + text))
        assert list(too_long(path, comment.replace("because", "as") + text))
    assert not list(too_long(path, text.replace("    a = b;\n", "", 3).replace("    a = b\n", "", 4).replace("&&", "+")
                             .replace(" and b", "")))
