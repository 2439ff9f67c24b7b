"""How Sphinx makes the site: `sphinx-build -W docs build/docs`, with the extra `docs` and a built kafkapp.

The reference is made of the docstrings, with signatures and types from the stubs: compiled modules have no annotations.
"""
import ast
from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

import kafkapp.aio
import kafkapp.opentelemetry
import kafkapp.prometheus
import kafkapp.stats
import kafkapp.testing
import kafkapp.typing

project = "kafkapp"
author = "the kafkapp authors"
copyright = author
version = release = version_of("kafkapp")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"kafkapp {version}"
highlight_language = "text"
myst_heading_anchors = 3
default_role = "code"
nitpicky = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True}
napoleon_numpy_docstring = False


# -- signatures of the stubs -------------------------------------------------------------------------------------------

class Expanded(ast.NodeTransformer):
    """Writes out the private aliases of a stub (`_Timeout`)."""

    def __init__(self, aliases):
        self.aliases = aliases

    def visit_Name(self, node):
        return self.aliases.get(node.id, node)


def stub_signatures():
    """(class or module, name) to (arguments, result) as text."""
    found = {}
    for path in sorted(Path(kafkapp.__file__).parent.rglob("*.pyi")):
        tree = ast.parse(path.read_text())
        aliases = {node.target.id: node.value for node in tree.body
                   if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
                   and node.target.id.startswith("_")}
        aliases |= {node.targets[0].id: node.value.keywords[0].value for node in tree.body      # a TypeVar: its bound
                    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)}
        for node in Expanded(aliases).visit(tree).body:
            if isinstance(node, ast.FunctionDef):
                found["", node.name] = signature(node)
            elif isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
                        found[node.name, method.name] = signature(method, self=True)
    return found


def signature(function, self=False):
    arguments = function.args
    if self and [ast.unparse(decorator) for decorator in function.decorator_list] != ["staticmethod"]:
        (arguments.posonlyargs or arguments.args).pop(0)
    if function.name == "__init__" and arguments.vararg is not None:
        return "", None         # users do not make it
    return f"({ast.unparse(arguments)})", None if function.returns is None else ast.unparse(function.returns)


SIGNATURES = stub_signatures()
MODULES = (kafkapp, kafkapp.aio, kafkapp.opentelemetry, kafkapp.prometheus, kafkapp.stats, kafkapp.testing,
           kafkapp.typing)
CLASSES = {name: getattr(module, name) for module in MODULES for name in module.__all__}


def from_stub(app, what, name, thing, options, arguments, result):
    """What autodoc shows: of a class the arguments that make one, of a method those of the class that has it.

    Sphinx cannot replace a signature where it finds none: pages write `()` after such a class.
    """
    if what == "class":
        places = [(cls.__name__, method) for cls in thing.__mro__ for method in ("__init__", "__new__")]
        return next(((SIGNATURES[place][0], None) for place in places if place in SIGNATURES), (arguments, result))
    if what == "method":
        owner, method = name.split(".")[-2:]
        places = [(cls.__name__, method) for cls in (CLASSES[owner].__mro__ if owner in CLASSES else ())]
    else:
        places = [("", name.split(".")[-1])]
    return next((SIGNATURES[place] for place in places if place in SIGNATURES), (arguments, result))


def not_a_type(app, what, name, thing, options, lines):
    """Keep napoleon from taking what stands before a colon in an attribute's docstring for its type."""
    if what in ("attribute", "property", "data"):
        lines.insert(0, "")


# -- error codes -------------------------------------------------------------------------------------------------------

class ErrorCodes(Directive):
    """A table of all error codes of the librdkafka in use."""

    def run(self):
        table = nodes.table("", nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in (55, 10, 55)), cols=3))
        body = nodes.tbody()
        for name, code in kafkapp.ErrorCode.__members__.items():
            cells = nodes.literal("", name), nodes.Text(str(int(code))), nodes.Text(code.description)
            body += nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))
        table[0] += body
        return [table]


def setup(app):
    app.connect("autodoc-process-signature", from_stub)
    app.connect("autodoc-process-docstring", not_a_type, priority=400)
    app.add_directive("error-codes", ErrorCodes)
    return {"parallel_read_safe": True}
