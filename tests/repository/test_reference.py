"""The site is built by Sphinx without a warning, and its reference has each public name once.

Sphinx warns of a name that stands twice; what is missing is seen here, in the list of names that other projects' pages
link to.
"""
import inspect
import re
import subprocess
import sys

import pytest
from helpers import ROOT

import kafkapp
import kafkapp.aio
import kafkapp.opentelemetry
import kafkapp.prometheus
import kafkapp.stats
import kafkapp.testing
import kafkapp.typing

MODULES = (kafkapp, kafkapp.aio, kafkapp.opentelemetry, kafkapp.prometheus, kafkapp.stats, kafkapp.testing, kafkapp.typing)
pytestmark = pytest.mark.timeout(300)
FOR_MODULES = {"member"}        # how kafkapp's own modules read an option


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for module in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(module)
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-d", site / "doctrees", ROOT / "docs", site / "html"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return site / "html"


def documented(site):
    """The names that the site explains, without those under which Sphinx lists a name a second time."""
    from sphinx.util.inventory import InventoryFile

    with open(site / "objects.inv", "rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, path: path)
    kinds = [kind for kind in inventory if kind.startswith("py:")]
    return {name for kind in kinds for name, item in inventory[kind].items() if item.uri.startswith("reference/")}


def public():
    """(name, the object) of what the package offers, and of the members of its classes that kafkapp itself gives them."""
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            yield f"{module.__name__}.{name}", thing
            if inspect.isclass(thing) and thing is not kafkapp.ErrorCode:
                for member in members(thing):
                    yield f"{module.__name__}.{name}.{member}", inspect.getattr_static(thing, member)


def members(cls):
    ours = [base for base in cls.__mro__ if base.__module__.split(".")[0] == "kafkapp"]
    return sorted({name for base in ours for name in vars(base) if not name.startswith("_")} - FOR_MODULES)


def missing(names):
    """The public names that are not explained; of one that several classes inherit, one is enough."""
    explained = {id(thing) for name, thing in public() if name in names}
    return [name for name, thing in public() if name not in names and id(thing) not in explained]


@pytest.mark.timeout(150)
def test_each_public_name_is_explained(site):
    names = documented(site)
    assert missing(names) == []
    assert len([name for name, _ in public()]) > 150


def test_a_name_that_is_not_explained_is_missed():
    everything = {name for name, _ in public()}
    assert missing(everything - {"kafkapp.Error.code"}) == ["kafkapp.Error.code"]
    assert missing(everything - {"kafkapp.KafkaSyncProducer.flush"}) == [], "its brother has it"
    assert missing(everything - {"kafkapp.KafkaSyncProducer.send"}) == ["kafkapp.KafkaSyncProducer.send"]


@pytest.mark.timeout(150)
def test_each_docstring_was_understood(site):
    """A section that is not set off is shown as it was written."""
    for page in (site / "reference").glob("*.html"):
        assert not re.search(r":(raises|param|returns?)\b|\b(Args|Raises|Returns):<", page.read_text()), page.name


@pytest.mark.timeout(150)
def test_each_error_code_stands_once_in_the_table(site):
    page = (site / "reference" / "errors.html").read_text()
    cells = re.findall(r"<td><p><code[^>]*>(?:<span[^>]*>)?(RD_KAFKA_RESP_ERR_\w+)", page)
    assert sorted(cells) == sorted(code.name for code in kafkapp.ErrorCode)


@pytest.mark.timeout(150)
def test_signatures_have_their_types(site):
    """They come from the stubs: a compiled class has none."""
    page = re.sub(r"<[^>]+>", "", (site / "reference" / "producers.html").read_text())
    assert "send(record: ProducerRecord, timeout: int | float | timedelta | None = None)" in page
    assert "flush(timeout: int | float | timedelta | None = None)" in page
