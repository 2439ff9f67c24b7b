"""The stubs of a build have the docstrings of the modules: what an editor shows is what help() shows."""
import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import build_scripts
import pytest

import kafkapp

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "kafkapp").rglob("*.pyx"))


@pytest.fixture
def docstrings(monkeypatch):
    with build_scripts.imported(monkeypatch) as load:
        yield load("stub_docstrings")


def members(module):
    """(name, the object) of a module's own classes and functions, and of the methods and properties of those classes."""
    for name, thing in vars(module).items():
        if isinstance(thing, type):
            yield (name, ""), thing
            for member, method in vars(thing).items():
                if not member.startswith("_"):
                    yield (name, member), method
        elif callable(thing):
            yield ("", name), thing


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_stub_says_what_the_module_says(docstrings, source):
    stub = source.with_suffix(".pyi").read_text()
    made = docstrings.with_docstrings(stub, source.read_text())
    module = importlib.import_module(".".join(source.relative_to(ROOT).with_suffix("").parts))
    known = dict(members(module))
    for cls in ast.parse(made).body:
        for node in [cls, *(cls.body if isinstance(cls, ast.ClassDef) else ())]:
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef)) or not ast.get_docstring(node):
                continue
            place = (cls.name if isinstance(cls, ast.ClassDef) else "", "" if isinstance(node, ast.ClassDef) else node.name)
            if place in known and known[place].__doc__:
                said = docstrings.SOURCE.sub("", inspect.cleandoc(known[place].__doc__))
                assert ast.get_docstring(node) == said.rstrip(), place
    assert docstrings.with_docstrings(made, source.read_text()) == made, "a second time changes nothing"
    assert without_docstrings(made) == without_docstrings(stub)


def without_docstrings(stub):
    tree = ast.parse(stub)
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            node.body[0] = ast.Expr(ast.Constant(...))
            if len(node.body) > 1:
                del node.body[0]
    return ast.unparse(tree)


def test_whatever_is_public_and_documented_has_it(docstrings):
    found = {}
    for source in SOURCES:
        found |= docstrings.docstrings(source.read_text())
    for cls in (kafkapp.KafkaAsyncProducer, kafkapp.KafkaSyncProducer, kafkapp.ProducerRecord, kafkapp.Batch, kafkapp.Error, kafkapp.Value):
        assert (cls.__name__, "") in found
        for name, member in vars(cls).items():
            if not name.startswith("_") and member.__doc__ and not inspect.isgetsetdescriptor(member):
                assert (cls.__name__, name) in found
    assert found["KafkaAsyncProducer", ""].startswith("Sends records without waiting for them")
    assert not [place for place, text in found.items() if "Source: " in text or "\n--" in text]


def test_a_build_writes_them_and_leaves_the_sources(tmp_path):
    build_scripts.copy_sources(tmp_path / "tree")
    subprocess.run([sys.executable, "setup.py", "-q", "build_py", "--build-lib", tmp_path / "lib"], cwd=tmp_path / "tree", check=True,
                   capture_output=True, timeout=100)
    stub = "kafkapp/producer/async_producer.pyi"
    assert (tmp_path / "tree" / stub).read_text() == (ROOT / stub).read_text()
    assert '"""Sends records without waiting for them' in (tmp_path / "lib" / stub).read_text()


STUB = "class A:\n    @property\n    def a(self) -> int: ...\n    @a.setter\n    def a(self, value: int) -> None: ...\n    b: int\ndef f() -> None: ...\n"
MODULE = '''cdef class A:
    """A(x=1)\\n--\\n
    One "quoted".

    Source: c().
    """

    @property
    def a(self):      # why
        """A backslash: \\\\n and "an end\\""""

    def not_in_the_stub(self,
                        x):
        """More."""
def f():
    return """No docstring."""
'''


def test_what_is_written(docstrings):
    made = docstrings.with_docstrings(STUB, MODULE)
    tree = ast.parse(made)
    assert ast.get_docstring(tree.body[0]) == 'One "quoted".'
    assert [ast.get_docstring(node) for node in tree.body[0].body[1:3]] == ['A backslash: \\n and "an end"', None]
    assert ast.get_docstring(tree.body[1]) is None and "def f() -> None: ..." in made
