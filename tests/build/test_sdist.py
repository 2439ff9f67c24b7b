"""The source archive of the build backend: the files that git tracks, and the same bytes each time."""
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from build_scripts import copy_sources

ROOT = Path(__file__).parents[2]
CODE = "import sys; sys.path.insert(0, 'build_support'); import kafkapp_build; kafkapp_build.build_sdist(sys.argv[1])"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def tree(tmp_path):
    """A checkout of its own, with what a developer leaves lying about."""
    tree = tmp_path / "tree"
    copy_sources(tree)
    (tree / "build_support" / "patches").mkdir(exist_ok=True)
    (tree / "build_support" / "patches" / "of-a-test.patch").write_text("A patch\n\nReleases: all\nGoes: never\n")
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=tree, check=True, capture_output=True)
    if (ROOT / "build" / "kafkapp").exists():   # the C that was generated already: saves half a minute
        shutil.copytree(ROOT / "build" / "kafkapp", tree / "build" / "kafkapp")
    for stray in ("tests/secret.txt", "docs/notes.md", "kafkapp/old.py", "csrc/old.c", "kafkapp/common/errors.c"):
        (tree / stray).write_text("stray")
    return tree


def build(tree, name, epoch):
    subprocess.run([sys.executable, "-c", CODE, tree.parent / name], cwd=tree, check=True, capture_output=True, timeout=110,
                   env={"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": epoch})
    return next((tree.parent / name).glob("kafkapp-*.tar.gz"))


def test_two_builds_are_the_same_bytes_and_hold_only_what_git_tracks(tree):
    first = build(tree, "first", "1700000000")
    for file in ("README.md", "tests/conftest.py", "csrc/delivery.h"):
        (tree / file).touch()
        (tree / file).chmod(0o600)
    second = build(tree, "second", "1700000000")
    assert first.read_bytes() == second.read_bytes()
    assert build(tree, "third", "1700000001").read_bytes() != first.read_bytes()
    tracked = set(subprocess.run(["git", "ls-files"], cwd=tree, check=True, text=True,
                                 capture_output=True).stdout.splitlines())
    with tarfile.open(first) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
        assert {member.mtime for member in tar} == {1700000000}
    made = {name for name in names if name.startswith("kafkapp.egg-info/") or name in ("PKG-INFO", "setup.cfg")}
    assert names - made <= tracked
    assert {"build_support/native_table.py", "csrc/delivery.c", "tests/wheel/smoke.py", "wheels.yml", "tests/conftest.py",
            "build_support/patches/of-a-test.patch"} <= names
    assert "kafkapp/common/errors.c" not in names and "csrc/old.c" not in names
    assert {"LICENSE", "NOTICE"} <= names
    pytest.importorskip("twine")
    checked = subprocess.run([sys.executable, "-m", "twine", "check", "--strict", first], check=False, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stdout
