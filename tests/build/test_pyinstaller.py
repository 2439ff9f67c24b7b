"""PyInstaller: a frozen program sends; the package's hook names what only compiled modules import."""
import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import kafkapp
import kafkapp.__pyinstaller as hooks

PACKAGE = Path(kafkapp.__file__).parent
HOOK = Path(hooks.get_hook_dirs()[0], "hook-kafkapp.py")
ALWAYS = {"_frozen_importlib", "_frozen_importlib_external"}    # every Python starts with them
IMPORT = re.compile(r"^ *(?:from +([\w.]+) +import\b|import +([\w.]+))", re.M)

PROGRAM = '''
import asyncio, sys
import kafkapp, kafkapp.aio
from kafkapp import EventsPollingOption, KafkaAsyncProducer, KafkaSyncProducer, ProducerRecord
from kafkapp.testing import MockCluster

async def aio(servers):
    async with kafkapp.aio.KafkaProducer(servers) as producer:
        return await producer.send(ProducerRecord("t", value=b"v"))

with MockCluster() as cluster:
    servers = {"bootstrap.servers": cluster.bootstrap_servers}
    with KafkaSyncProducer(servers) as producer:
        print(producer.send(ProducerRecord("t", value=b"v"), 20).topic)
    for polling in EventsPollingOption:
        with KafkaAsyncProducer(servers, polling) as producer:
            producer.send_batch("t", [b"v", "w"]).wait(20)
            producer.fetch_broker_metadata("t")
    print(asyncio.run(aio(servers)).topic)
assert getattr(sys, "frozen", False) and kafkapp.__version__
print("sent")
'''


def test_the_package_names_its_hook():
    entries = [entry for entry in entry_points(group="pyinstaller40") if entry.value.startswith("kafkapp")]
    assert [entry.load()() for entry in entries] == [[str(HOOK.parent)]] and HOOK.exists()


def test_the_hook_names_all_that_compiled_modules_import():
    text = HOOK.read_text()
    named = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
    folder = Path(__file__).parents[2] / "kafkapp"      # the sources: a wheel has none
    sources = {path: path.read_text() for path in folder.rglob("*.pyx") if path.parent.name != "bench"}
    assert len(sources) > 20
    for path, source in sources.items():
        bare = re.sub(r'("""|\'\'\')(?:.|\n)*?\1', "", source)
        for match in IMPORT.finditer(bare):
            name = match[1] or match[2]
            assert name.startswith("kafkapp") or name in named | ALWAYS, f"{path.name} imports {name}"
    programs = {"kafkapp." + name for name in ("__main__", "__pyinstaller", "bench", "cli")}
    assert programs <= named


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("hook", [True, False], ids=["hook", "control"])
def test_a_frozen_program_sends(tmp_path, hook):
    """The control: without the hook it does not start."""
    pytest.importorskip("PyInstaller")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    # As it is installed: PyInstaller does not see through what an editable installation puts in its place.
    site = tmp_path / "site"
    shutil.copytree(PACKAGE, site / "kafkapp", ignore=shutil.ignore_patterns("*.pyx", "*.pxd", "__pycache__", *["__pyinstaller"] * (not hook)))
    files = ["kafkapp-0.dist-info/METADATA", "kafkapp-0.dist-info/entry_points.txt"]
    (site / files[0]).parent.mkdir()
    (site / files[0]).write_text("Metadata-Version: 2.1\nName: kafkapp\nVersion: 0\n")
    (site / files[1]).write_text("[pyinstaller40]\nhook-dirs = kafkapp.__pyinstaller:get_hook_dirs\n" if hook else "")
    path = os.pathsep.join([str(site), *(part for part in sys.path if "site-packages" in part)])
    environment = {**os.environ, "PYTHONPATH": path, "PYINSTALLER_CONFIG_DIR": str(tmp_path / "cache")}
    more = [] if hook else ["--additional-hooks-dir", str(tmp_path / "none")]
    made = subprocess.run([sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN", *more, str(program)], cwd=tmp_path,
                          env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    run = subprocess.run([tmp_path / "dist" / "program" / "program"], env=bare, capture_output=True, text=True, timeout=60, check=False)
    if hook:
        assert run.returncode == 0 and run.stdout.split() == ["t", "t", "sent"], run.stdout + run.stderr
        assert list((tmp_path / "dist").rglob("librdkafka*.so*")) or sys.platform == "darwin", "librdkafka is not inside"
    else:
        assert run.returncode != 0 and "ModuleNotFoundError" in run.stderr, run.stdout + run.stderr
