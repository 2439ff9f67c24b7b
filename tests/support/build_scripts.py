"""Imports the build scripts, build_support/*.py, as setup.py does; each test has fresh modules."""
import contextlib
import importlib
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build_support"
NAMES = [file.stem for file in FOLDER.glob("*.py")]


@contextlib.contextmanager
def imported(monkeypatch):
    """What imports one of them by its name."""
    monkeypatch.syspath_prepend(FOLDER)
    forget()
    try:
        yield importlib.import_module
    finally:
        forget()


def forget():
    for name in NAMES:
        sys.modules.pop(name, None)


def copy_sources(tree):
    """The sources in another folder, without what was built or installed in this one."""
    anywhere = shutil.ignore_patterns("*.egg-info", ".*_cache", "__pycache__", "*.so")

    def left_out(folder, names):
        return anywhere(folder, names) | ({".git", ".venv", "dist", "build"} & {*names} if Path(folder) == ROOT else set())

    shutil.copytree(ROOT, tree, ignore=left_out)
