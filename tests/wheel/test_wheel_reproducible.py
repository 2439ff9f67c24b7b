"""Reproducible wheels: KAFKAPP_WHEEL_BUILT, not yet repaired, has the same bytes as a build in another folder.

Takes minutes, and the SOURCE_DATE_EPOCH and the Python of the first build. The libraries that librdkafka stands on are
taken from the first one's build folder; librdkafka and the modules are compiled again.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from build_scripts import copy_sources

ROOT = Path(__file__).parent.parent.parent


def contents(path):
    with zipfile.ZipFile(path) as wheel:
        return {name: hashlib.sha256(wheel.read(name)).hexdigest() for name in wheel.namelist()}


@pytest.mark.timeout(900)
def test_a_second_build_elsewhere_gives_the_same_bytes(tmp_path):
    if not os.environ.get("KAFKAPP_WHEEL_BUILT"):
        pytest.skip("KAFKAPP_WHEEL_BUILT names no wheel")
    pytest.importorskip("build")
    first = Path(os.environ["KAFKAPP_WHEEL_BUILT"]).absolute()
    tree = tmp_path / "somewhere" / "else"
    copy_sources(tree)
    shutil.copytree(ROOT / "build" / "native-parts", tree / "build" / "native-parts")
    for kept in (ROOT / "build").glob("librdkafka-*.tar.gz"):
        shutil.copy(kept, tree / "build")
    subprocess.run([sys.executable, "-m", "build", "-q", "--wheel", "--outdir", tmp_path / "out", "."],
                   cwd=tree, check=True, env={**os.environ, "KAFKAPP_LIBRDKAFKA": "pinned", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"})
    second = tmp_path / "out" / first.name
    assert contents(second) == contents(first)
    assert second.read_bytes() == first.read_bytes()
