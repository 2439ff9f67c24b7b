"""The build: what the README promises, the contents of the source archive, the choice of librdkafka."""
import ctypes
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from pathlib import Path

import build_scripts
import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def builder(monkeypatch):
    """The build script, imported as setup.py imports it."""
    monkeypatch.delenv("KAFKAPP_LIBRDKAFKA", raising=False)
    with build_scripts.imported(monkeypatch) as load:
        yield load("build_librdkafka")


def package_folder():
    """Where kafkapp would be imported from, without importing it."""
    return Path(importlib.util.find_spec("kafkapp").origin).parent


# -- what is promised --------------------------------------------------------------------------------------------------

def test_the_version_stands_once():
    version = re.compile(rf"(?<![\d.]){re.escape(PROJECT['version'])}(?![\d.])")
    files = [ROOT / "setup.py", *(ROOT / "kafkapp").rglob("*.py*"), *(ROOT / "csrc").glob("*.*"), *(ROOT / "build_support").glob("*.*")]
    listed = [file.name for file in files if file.suffix in (".py", ".pyi", ".pyx", ".pxd", ".c", ".h")
            and version.search(file.read_text())]
    assert listed == []


def test_the_quick_start_is_two_commands_that_ci_runs_to_the_letter():
    commands = re.findall(r"^    (python3 -m venv .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert commands == [
        "python3 -m venv .venv && .venv/bin/pip install '.[cli]' && .venv/bin/kafkapp produce --embedded README.md",
        "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest",
    ]
    script = (ROOT / ".ci" / "run").read_text()
    extract = re.search(r"< <\((sed .*)\)$", script, re.MULTILINE)[1]
    seen = subprocess.run(["bash", "-c", extract], cwd=ROOT, text=True, capture_output=True, check=True).stdout
    assert seen.splitlines() == commands
    assert '"${quick_start[0]}"' in script and '"${quick_start[1]}"' in script


def test_what_is_tested_is_what_was_installed():
    try:
        installed = importlib.metadata.distribution("kafkapp")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("kafkapp is not installed: its modules were built in place")
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    editable = origin.get("dir_info", {}).get("editable", False)
    assert package_folder() == (ROOT / "kafkapp" if editable else Path(installed.locate_file("kafkapp")))
    assert installed.version == PROJECT["version"]
    here = {str(file.relative_to(ROOT)) for file in (ROOT / "kafkapp").rglob("*.py*")
            if file.suffix in (".py", ".pyi", ".pyx", ".pxd")}
    expected = {re.sub(r"\.pyx$", ".pyi", file) for file in here}
    there = {str(file.relative_to(package_folder().parent)) for file in package_folder().rglob("*.p*")}
    assert sorted(expected - there) == []


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs /proc")
def test_all_modules_share_one_librdkafka_and_ours_stands_in_the_package():
    folder = package_folder()
    code = ("from kafkapp import _modules\nassert len(_modules.NAMES) > 20\nfor name in _modules.NAMES: __import__(name)\n"
            "print(_modules.__file__, open('/proc/self/maps').read())")
    maps = subprocess.run([sys.executable, "-c", code], cwd=folder.parent, text=True, capture_output=True, check=True)
    loaded = set(re.findall(r"\S*/librdkafka\S*", maps.stdout))
    assert len(loaded) == 1
    (shared,) = folder.rglob("*" + sysconfig.get_config_var("EXT_SUFFIX"))      # one file, that of this Python
    assert set(re.findall(r"\S*/kafkapp/\S*", maps.stdout)) - loaded == {str(shared.resolve())}
    ours = {str(file.resolve()) for file in folder.glob("librdkafka-*.so")}
    assert ours in (set(), loaded)
    if (folder / "librdkafka.txt").exists():
        library = ctypes.CDLL(loaded.pop())
        library.rd_kafka_version_str.restype = ctypes.c_char_p
        listed = (folder / "librdkafka.txt").read_text()
        assert listed.startswith(f"librdkafka {library.rd_kafka_version_str().decode()} (")
        assert ("(built here" in listed) == bool(ours)


def test_the_source_archive_builds_without_git_and_holds_no_binaries(tmp_path):
    tree = tmp_path / "tree"
    build_scripts.copy_sources(tree)
    if (ROOT / "build" / "kafkapp").exists():   # the C that was generated already: saves half a minute
        shutil.copytree(ROOT / "build" / "kafkapp", tree / "build" / "kafkapp")
    for stray in ("kafkapp/librdkafka-0.so", "kafkapp/stray.c", "kafkapp/stray.cpython-311.so"):
        (tree / stray).touch()
    subprocess.run([sys.executable, "setup.py", "-q", "sdist", "--dist-dir", tmp_path], cwd=tree, check=True,
                   capture_output=True, timeout=100)
    with tarfile.open(next(tmp_path.glob("kafkapp-*.tar.gz"))) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    assert {"pyproject.toml", "setup.py", "README.md", "MANIFEST.in", ".ci/run", "build_support/build_librdkafka.py",
            "build_support/kafkapp_build.py", "build_support/python_headers.py", "tests/build/test_build.py"} <= names
    sources = {str(file.relative_to(tree)) for folder in ("kafkapp", "csrc", "docs")
               for file in (tree / folder).rglob("*") if file.suffix in (".py", ".pyx", ".pxd", ".pyi", ".h", ".md")}
    assert sources <= names
    assert [name for name in names if re.search(r"\.(so|o|pyc|a)$|^build/|^kafkapp/.*\.c$", name)] == []


# -- where librdkafka comes from ---------------------------------------------------------------------------------------

def archive_of(builder, path, text=b"release"):
    """A file like the official archive, and the Source that pins it."""
    source = builder.SOURCES[0]
    with tarfile.open(path, "w:gz") as tar:
        for name in ("configure", "src/rdkafka.h", "tests/huge.c"):
            member = tarfile.TarInfo(f"{source.folder}/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return dataclasses.replace(source, name=path.as_uri(), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_release_that_matches_its_checksum_is_unpacked(builder, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "SOURCES", (archive_of(builder, tmp_path / "release.tar.gz"),))
    source, file = builder.fetch(tmp_path / "build")
    builder.unpack(source, file, tmp_path / "source")
    assert (tmp_path / "source" / "src" / "rdkafka.h").read_bytes() == b"release"
    assert not (tmp_path / "source" / "tests").exists()


def test_a_release_with_another_checksum_stops_the_build(builder, tmp_path, monkeypatch):
    source = archive_of(builder, tmp_path / "release.tar.gz")
    (tmp_path / "release.tar.gz").write_bytes((tmp_path / "release.tar.gz").read_bytes() + b"\0")
    asked = []
    monkeypatch.setattr(builder, "SOURCES", (source, builder.SOURCES[1]))
    monkeypatch.setattr(builder, "fetch_npm", lambda *arguments: asked.append(arguments))
    with pytest.raises(builder.BuildError, match=source.sha256):
        builder.make(tmp_path / "build")
    assert asked == []
    assert list((tmp_path / "build").iterdir()) == []


def test_a_kept_file_that_was_tampered_with_is_fetched_anew(builder, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "SOURCES", (archive_of(builder, tmp_path / "release.tar.gz"),))
    file = builder.fetch(tmp_path / "build")[1]
    good = file.read_bytes()
    file.write_bytes(b"tampered")
    assert builder.fetch(tmp_path / "build")[1].read_bytes() == good


def test_npm_is_asked_where_the_archive_cannot_be_reached(builder, tmp_path, monkeypatch):
    package = archive_of(builder, tmp_path / "package.tgz")
    archive, npm = builder.SOURCES
    monkeypatch.setattr(builder, "SOURCES", (dataclasses.replace(archive, name=(tmp_path / "none").as_uri()),
                                             dataclasses.replace(npm, sha256=package.sha256)))
    monkeypatch.setattr(builder, "fetch_npm", lambda source, to: shutil.copy(tmp_path / "package.tgz", to))
    assert builder.fetch(tmp_path / "build")[0].kind == "npm"


def test_without_any_source_the_error_says_what_to_install(builder, tmp_path, monkeypatch):
    archive, npm = builder.SOURCES
    monkeypatch.setattr(builder, "SOURCES", (dataclasses.replace(archive, name=(tmp_path / "none").as_uri()), npm))
    monkeypatch.setattr(builder, "npm_command", lambda: None)
    with pytest.raises(builder.BuildError, match="apt-get install npm(?s:.*)apt-get install librdkafka-dev"):
        builder.fetch(tmp_path / "build")


def test_an_npm_client_is_required_only_where_it_is_needed(builder, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "npm_command", lambda: None)
    monkeypatch.setattr(builder, "SOURCES", ())
    for choice, needed in (("bundled", True), ("system", False), (str(tmp_path), False)):
        monkeypatch.setenv("KAFKAPP_LIBRDKAFKA", choice)
        assert builder.needs_npm(tmp_path) == needed


def prefix_with(tmp_path, number):
    (tmp_path / "include" / "librdkafka").mkdir(parents=True)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "librdkafka.so").touch()
    (tmp_path / "include" / "librdkafka" / "rdkafka.h").write_text(f"#define RD_KAFKA_VERSION {number}\n")
    return tmp_path


@pytest.mark.parametrize(("number", "version"), [("0x020002ff", "2.0.2"), ("0x020f01ff", "2.15.1")])
def test_a_prefix_can_be_chosen(builder, tmp_path, monkeypatch, number, version):
    monkeypatch.setenv("KAFKAPP_LIBRDKAFKA", str(prefix_with(tmp_path, number)))
    library = builder.locate()
    assert library.version == version
    assert f"-I{tmp_path / 'include'}" in library.cflags and f"-Wl,-rpath,{tmp_path / 'lib'}" in library.ldflags


def test_a_librdkafka_that_is_too_old_is_refused(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("KAFKAPP_LIBRDKAFKA", str(prefix_with(tmp_path, "0x010902ff")))
    with pytest.raises(builder.BuildError, match=r"1\.9\.2: kafkapp needs 2\.0\.2"):
        builder.locate()


def test_the_verdict_names_what_is_missing_and_the_package_that_brings_it(builder, tmp_path):
    library = builder.Library("built here", "2.15.1", ("snappy", "gzip", "zstd", "http"), (), (), (tmp_path,))
    listed = library.verdict()
    assert "missing: ssl (OpenSSL" in listed and "missing: gzip" not in listed
    assert "apt-get install libcurl4-openssl-dev libsasl2-dev libssl-dev," in listed
