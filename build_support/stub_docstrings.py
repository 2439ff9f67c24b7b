"""Stubs with the docstrings of the modules: editors read stubs, and find no source of a compiled module beside them.

The stubs of the source tree have none, so that each docstring stands in one place; a build writes them into its copies.
"""
import ast
import inspect
import re
from pathlib import Path

HEADER = re.compile(r"( *)(?:cdef class|class|def) (\w+)")
SOURCE = re.compile(r"\s+Source: .*\Z", re.DOTALL)     # the C and C++ functions behind it


def docstrings(source):
    """{(class or "", function or ""): text} of a Cython module's classes, functions, methods and properties."""
    found, lines, cls = {}, source.splitlines(), ""
    for number, line in enumerate(lines):
        match = HEADER.match(line)
        if not match or len(match[1]) > 4:
            continue
        is_class, last = "class " in line.partition(match[2])[0], number
        if not match[1]:
            cls = match[2] if is_class else ""
        while lines[last].partition("#")[0].rstrip()[-1:] != ":" and last < number + 10:
            last += 1
        start = last + 1
        if start >= len(lines) or not lines[start].lstrip().startswith('"""'):
            continue
        end = start
        while "\n".join(lines[start:end + 1]).count('"""') < 2:
            end += 1
        text = ast.literal_eval("\n".join(lines[start:end + 1]).strip())
        text = inspect.cleandoc(text.partition("\n--\n\n")[2] or text)      # a class's signature is the stub's
        found.setdefault((cls, "" if is_class else match[2]), SOURCE.sub("", text))
    return found


def with_docstrings(stub, source):
    """A stub's text with the docstrings of its module; it may have some already."""
    texts, lines, edits = docstrings(source), stub.splitlines(), []
    for node in ast.parse(stub).body:
        if isinstance(node, ast.ClassDef):
            edits.append((node, texts.get((node.name, ""))))
            edits += [(method, texts.get((node.name, method.name))) for method in node.body
                      if isinstance(method, ast.FunctionDef) and not is_setter(method)]
        elif isinstance(node, ast.FunctionDef):
            edits.append((node, texts.get(("", node.name))))
    for node, text in sorted(edits, key=lambda edit: -edit[0].lineno):
        if text and not ast.get_docstring(node):
            insert(lines, node, text)
    return "\n".join(lines) + "\n"


def is_setter(method):
    return any(isinstance(decorator, ast.Attribute) for decorator in method.decorator_list)


def insert(lines, node, text):
    """Put a docstring into the lines of a class or function: in the place of its `...`, or before what it has."""
    indent = " " * (node.col_offset + 4)
    text = text.replace("\\", "\\\\").replace('"""', r'\"\"\"')
    if text.endswith('"'):
        text = text[:-1] + r'\"'
    if "\n" in text:
        text += "\n"
    made = "\n".join((indent + line).rstrip() for line in f'"""{text}"""'.split("\n"))
    first = node.body[0]
    place = min([first.lineno, *(decorator.lineno for decorator in getattr(first, "decorator_list", []))]) - 1
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and first.value.value is ...:
        lines[place:place + 1] = [*filter(None, [lines[place][:first.col_offset].rstrip()]), made]
    else:
        lines.insert(place, made)


def write(folder):
    """Write them into the stubs of a build's folder; the modules are in the current one."""
    for source in Path("kafkapp").rglob("*.pyx"):
        stub = Path(folder, source).with_suffix(".pyi")
        if stub.exists():
            stub.write_text(with_docstrings(stub.read_text(), source.read_text()))
