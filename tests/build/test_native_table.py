"""The table of what a wheel carries: checksums, sources, licences, and the bill of materials made from it."""
import dataclasses
import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import build_scripts
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load(monkeypatch):
    """Imports a fresh module of build_support."""
    with build_scripts.imported(monkeypatch) as load:
        yield load


def test_every_part_has_its_project_s_own_archive_a_licence_and_only_pinned_sources(load):
    table = load("native_table")
    assert {part.name for part in table.PARTS} == {"zlib", "zstd", "lz4", "openssl", "curl"}
    for part in (table.LIBRDKAFKA, *table.PARTS):
        assert part.sources[0].kind == "archive" and part.sources[0].name.startswith("https://")
        assert part.version in part.sources[0].name and len(part.sources) > 1
        assert part.licence and part.texts and part.cpe
        assert [source for source in part.sources if not re.fullmatch("[0-9a-f]{64}", source.sha256)] == []
    assert [part.name for part in table.WITHIN_LIBRDKAFKA if not part.licence] == []


def archive_of(load, path):
    """An archive like zlib's, and the part that pins it as its first source, by its address."""
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("zlib-9/zlib.h")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"text"))
    part = load("native_table").PARTS[0]
    first = dataclasses.replace(part.sources[0], name=path.as_uri(), folder="zlib-9",
                                sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    return dataclasses.replace(part, sources=(first, part.sources[1]))


def test_what_matches_its_checksum_is_taken_and_kept(load, tmp_path):
    part, parts = archive_of(load, tmp_path / "zlib.tar.gz"), load("build_parts")
    source, file = parts.fetch(part, tmp_path / "build")
    parts.unpack(source, file, tmp_path / "tree")
    assert (tmp_path / "tree" / "zlib.h").read_bytes() == b"text"
    (tmp_path / "zlib.tar.gz").unlink()
    assert parts.fetch(part, tmp_path / "build") == (source, file)


def test_a_checksum_that_does_not_match_stops_the_build(load, tmp_path, monkeypatch):
    part, parts, ours = archive_of(load, tmp_path / "zlib.tar.gz"), load("build_parts"), load("build_librdkafka")
    (tmp_path / "zlib.tar.gz").write_bytes((tmp_path / "zlib.tar.gz").read_bytes() + b"\0")
    monkeypatch.setattr(parts, "fetch_debian", lambda *arguments: pytest.fail("another source was asked"))
    monkeypatch.setattr(parts, "PARTS", (part,))
    monkeypatch.setattr(parts.shutil, "which", lambda tool: tool)
    with pytest.raises(ours.BuildError, match=part.sources[0].sha256) as raised:
        parts.make(tmp_path / "build", ["gcc"], 1)
    assert not isinstance(raised.value, ours.Unreachable)
    assert list((tmp_path / "build" / "archives").iterdir()) == []


def test_what_was_kept_and_tampered_with_is_not_taken(load, tmp_path):
    part, parts = archive_of(load, tmp_path / "zlib.tar.gz"), load("build_parts")
    file = parts.fetch(part, tmp_path / "build")[1]
    good = file.read_bytes()
    file.write_bytes(b"tampered")
    assert parts.fetch(part, tmp_path / "build")[1].read_bytes() == good


def test_debian_is_asked_where_the_address_cannot_be_reached_and_checked_by_its_own_sum(load, tmp_path, monkeypatch):
    part, parts, ours = archive_of(load, tmp_path / "zlib.tar.gz"), load("build_parts"), load("build_librdkafka")
    away = dataclasses.replace(part.sources[0], name=(tmp_path / "none").as_uri())
    same = dataclasses.replace(part.sources[1], sha256=part.sources[0].sha256)
    monkeypatch.setattr(parts, "fetch_debian", lambda source, to: to.write_bytes((tmp_path / "zlib.tar.gz").read_bytes()))
    assert parts.fetch(dataclasses.replace(part, sources=(away, same)), tmp_path / "a")[0] == same
    with pytest.raises(ours.BuildError, match="is not what was pinned"):
        parts.fetch(dataclasses.replace(part, sources=(away, part.sources[1])), tmp_path / "b")


def test_only_the_versions_of_debian_that_hold_the_pinned_archive_are_asked(load):
    sums = ["a" * 64, "b" * 64]
    listed = "\n\n".join(f"Package: source\nVersion: 1-{number}\nChecksums-Sha256:\n {sums[number // 2]} 12 x_1.orig.tar.gz"
                         for number in range(4))
    assert load("build_parts").debian_versions(listed, "x_1.orig.tar.gz", sums[1]) == ["1-2", "1-3"]


def test_the_bill_of_materials_comes_from_the_table(load):
    table, bill = load("native_table"), json.loads(load("sbom").document("1.2.3"))
    assert bill["specVersion"] == "1.6" and bill["metadata"]["component"]["version"] == "1.2.3"
    listed = {item["name"]: item for item in bill["components"]}
    for part in (table.LIBRDKAFKA, *table.PARTS):
        assert listed[part.name]["version"] == part.version
    references = {item["ref"]: item["dependsOn"] for item in bill["dependencies"]}
    assert {*references["librdkafka"]} == {*listed} - {"librdkafka"}


@pytest.mark.parametrize(("name", "kind", "address"), [
    ("librdkafka", "npm", "pkg:npm/%40confluentinc/kafka-javascript@1.10.1"),
    ("librdkafka", "archive", "https://github.com/confluentinc/librdkafka/archive/refs/tags/v2.15.1.tar.gz"),
    ("zlib", "debian", "pkg:deb/debian/zlib?arch=source"),
])
def test_the_bill_names_the_source_that_was_used(load, name, kind, address):
    table = load("native_table")
    (part,) = [part for part in (table.LIBRDKAFKA, *table.PARTS) if part.name == name]
    (source,) = [source for source in part.sources if source.kind == kind]
    bill = json.loads(load("sbom").document("1.2.3", {name: source.name}))
    (entry,) = [item for item in bill["components"] if item["name"] == name]
    assert entry["externalReferences"] == [{"type": "source-distribution", "url": address, "comment": f"{kind}: {source.name}",
                                           "hashes": [{"alg": "SHA-256", "content": source.sha256}]}]


def test_the_documents_state_the_versions_of_the_table(load):
    table = load("native_table")
    newest = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    for part in (table.LIBRDKAFKA, *table.PARTS):
        name = {"openssl": "OpenSSL"}.get(part.name, part.name)
        assert f"{name} {part.version}" in newest.replace("\n ", ""), part.name
    assert f"librdkafka {table.LIBRDKAFKA.version}" in (ROOT / "README.md").read_text()


def test_a_wheels_librdkafka_is_optimised_as_one_program_by_gcc_alone(load, tmp_path):
    builder = load("build_librdkafka")
    for name, said in (("gcc", "gcc (Debian 12.2.0) 12.2.0"), ("clang", "Debian clang version 14.0.6")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (tmp_path / name).chmod(0o755)
    assert builder.whole_program([str(tmp_path / "clang")], 2) == []
    assert builder.whole_program([str(tmp_path / "gcc")], 2) == ([] if builder.MACOS else ["-flto=2"])
