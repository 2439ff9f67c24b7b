"""Package metadata for installers, the index and `pip show`: licence, authors, addresses, Pythons, systems."""
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
POLICY = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["cibuildwheel"]


@pytest.fixture(scope="module")
def installed():
    try:
        return importlib.metadata.distribution("kafkapp")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("kafkapp is not installed: its modules were built in place")


def test_the_licence_is_apache_and_goes_along(installed):
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n" in text and "Version 2.0, January 2004" in text and "Copyright 2026 the kafkapp authors" in text
    assert len(text.splitlines()) == 202
    assert installed.metadata["License-Expression"] == "Apache-2.0"
    assert installed.metadata.get_all("License-File") == ["LICENSE", "NOTICE"]
    there = {str(file): file for file in installed.files or ()}
    for name in ("LICENSE", "NOTICE"):
        (file,) = [file for path, file in there.items() if path.endswith(f".dist-info/licenses/{name}")]
        assert file.read_text() == (ROOT / name).read_text()


def test_the_notice_names_everything_that_a_wheel_carries(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "build_support")
    import native_table
    stated = (ROOT / "NOTICE").read_text().lower()
    assert [part.name for part in (native_table.LIBRDKAFKA, *native_table.PARTS) if part.name not in stated] == []


def test_every_folder_of_the_package_is_packed():
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    sources = [file for file in (ROOT / "kafkapp").rglob("*") if file.suffix in (".py", ".pyx", ".pxd", ".pyi")]
    assert sorted(packed) == sorted({".".join(file.relative_to(ROOT).parent.parts) for file in sources})


def test_metadata_names_author_addresses_and_summary(installed):
    stated = installed.metadata
    assert stated["Author"] == "the kafkapp authors"
    assert stated["Summary"] == PROJECT["description"] and stated["Keywords"].startswith("kafka,")
    assert stated["Description-Content-Type"] == "text/markdown"
    addresses = dict(entry.split(", ", 1) for entry in stated.get_all("Project-URL"))
    assert set(addresses) == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}
    assert all(address.startswith("https://") for address in addresses.values())


def test_addresses_stand_in_one_place():
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "kafkapp").rglob("*.py"), ROOT / "setup.py"]
    assert [file.name for file in files if "kafkapp.example.org" in file.read_text()] == []


def test_classifiers_are_the_indexs_own_and_cover_what_is_built():
    stated = PROJECT["classifiers"]
    assert stated == sorted(stated, key=lambda name: name.split(" :: ")[:2]) and len(stated) == len(set(stated))
    assert {"Typing :: Typed", "Framework :: AsyncIO", "Operating System :: POSIX :: Linux", "Operating System :: MacOS"} <= set(stated)
    assert any(name.startswith("Development Status :: ") for name in stated)
    assert not any(name.startswith("License :: ") for name in stated)     # an index refuses both
    assert PROJECT["requires-python"] == ">=3.11" and "skip" not in POLICY
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(stated))
    assert versions == [f"3.{minor}" for minor in range(11, 16)]
    known = pytest.importorskip("trove_classifiers").classifiers
    assert [name for name in stated if name not in known] == []


def test_pip_show_says_it(installed):
    shown = subprocess.run([sys.executable, "-m", "pip", "show", "--verbose", "kafkapp"], text=True, capture_output=True,
                           check=False, timeout=60)
    if "No module named pip" in shown.stderr:
        pytest.skip("no pip in this environment")
    # An older pip shows no licence by that name; the metadata have it, see above.
    licence = ["License-Expression: Apache-2.0"] if "License-Expression" in shown.stdout else []
    for line in (*licence, "Author: the kafkapp authors", "  Typing :: Typed", "  Framework :: AsyncIO",
                 *(f"  {label}, {address}" for label, address in PROJECT["urls"].items())):
        assert f"\n{line}\n" in shown.stdout, line
