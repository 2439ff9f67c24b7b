"""`import kafkapp` is quick: it loads no other library, and nothing of Python's that is slow to import."""
from pathlib import Path

from helpers import run_python

import kafkapp

OTHERS = {"click", "rich", "numpy", "pyarrow", "pandas", "polars", "matplotlib", "prometheus_client", "opentelemetry"}
SLOW = {"asyncio", "concurrent", "contextlib", "dataclasses", "datetime", "difflib", "importlib", "inspect", "ipaddress", "logging", "random", "re",
        "socket", "subprocess", "threading", "traceback", "typing", "weakref"}


def test_importing_kafkapp_loads_nothing_slow():
    code = f"import sys; sys.path.insert(0, {str(Path(kafkapp.__file__).parents[1])!r}); import kafkapp; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in run_python(code, flags=["-I", "-S"]).split()}     # -S: site loads some of them
    assert {"kafkapp", "enum"} <= loaded and not loaded & (OTHERS | SLOW)
