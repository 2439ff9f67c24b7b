"""kafkapp.config.defaults: the name of a program, by which brokers know its clients."""
import sys

import pytest

from helpers import run_python

from kafkapp.config.defaults import program_name

NAMES = {
    "/opt/shop/orders.py": "orders", "orders": "orders", "./orders.py": "orders", "/usr/bin/gunicorn": "gunicorn", "orders.pyz": "orders.pyz",
    "/opt/shop/__main__.py": "shop", "/usr/lib/python3/site-packages/pytest/__main__.py": "pytest", "__main__.py": "kafkapp",
    "": "kafkapp", "-c": "kafkapp", "-m": "kafkapp", "-": "kafkapp", "/opt/": "kafkapp", "\u20ac.py": "kafkapp",
    "my orders (2).py": "my-orders--2", "a\nb\udcff.py": "a-b", "x" * 5000: "x" * 64,
}


@pytest.mark.parametrize("path", NAMES)
def test_name_of_a_program(path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [path, "orders"])
    assert program_name() == NAMES[path]


@pytest.mark.parametrize("argv", [[], None, [5]])
def test_a_program_without_arguments(argv, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    assert program_name() == "kafkapp"
    monkeypatch.delattr(sys, "argv")
    assert program_name() == "kafkapp"


def test_programs_as_python_runs_them(tmp_path):
    code = "from kafkapp import KafkaSyncProducer\nprint(KafkaSyncProducer({'bootstrap.servers': '127.0.0.1:1', 'log_level': 0}).client_id)\n"
    assert run_python(code).split() == ["kafkapp"]
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__main__.py").write_text(code)
    assert run_python(f"import runpy, sys; sys.argv = [{str(package / '__main__.py')!r}]; runpy.run_path(sys.argv[0], run_name='__main__')").split() == ["shop"]
