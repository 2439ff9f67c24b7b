"""Imports the build scripts, csrc/*.py, as setup.py does; each test has fresh modules."""
import contextlib
import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "csrc"
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
