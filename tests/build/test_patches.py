"""kafkapp's patches of librdkafka: applied exactly or not at all, part of the build key, named in the bill of materials."""
import json
from pathlib import Path

import build_scripts
import pytest
import small_librdkafka

ROOT = Path(__file__).parents[2]
HEADER = "A test's patch\n\nWhy it is there.\n\nReleases: 9.0 and later\nGoes: with 9.1\n\n"
BEFORE = b"one\ntwo\nthree\nfour\nfive\nsix\nseven\n"
FOUR = "--- a/src/x.c\n+++ b/src/x.c\n@@ -3,3 +3,3 @@ void f()\n three\n-four\n+FOUR\n five\n"
AFTER = BEFORE.replace(b"four", b"FOUR")
NEW = "--- /dev/null\n+++ b/src/new.c\n@@ -0,0 +1,2 @@\n+one\n+two\n"
GONE = "--- a/src/x.c\n+++ /dev/null\n@@ -1,7 +0,0 @@\n" + "".join(f"-{line}\n" for line in BEFORE.decode().split())


@pytest.fixture
def load(monkeypatch):
    """Imports a fresh module of build_support."""
    with build_scripts.imported(monkeypatch) as load:
        yield load


def folder_of(tmp_path, *texts):
    folder = tmp_path / "patches"
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        data = text if isinstance(text, bytes) else (HEADER + text).encode()
        (folder / f"{number}.patch").write_bytes(data)
    return folder


def tree_of(tmp_path, content=BEFORE):
    (tmp_path / "tree" / "src").mkdir(parents=True)
    (tmp_path / "tree" / "src" / "x.c").write_bytes(content)
    return tmp_path / "tree"


def contents(tree):
    return {str(file.relative_to(tree)): file.read_bytes() for file in tree.rglob("*")
            if file.is_file() and file.name != "kafkapp-patches.key"}


def crlf(text):
    return text.replace("\n", "\r\n") if isinstance(text, str) else text.replace(b"\n", b"\r\n")


@pytest.mark.parametrize(("diff", "before", "after"), [
    (FOUR, BEFORE, {"src/x.c": AFTER}),
    ("diff --git a/src/x.c b/src/x.c\nindex 1..2 100644\n" + FOUR, BEFORE, {"src/x.c": AFTER}),
    (FOUR.replace("x.c\n", "x.c\t2026-01-01 00:00:00\n"), BEFORE, {"src/x.c": AFTER}),
    (FOUR + "@@ -7 +7,2 @@\n seven\n+eight\n", BEFORE, {"src/x.c": AFTER + b"eight\n"}),
    ("--- a/src/x.c\n+++ b/src/x.c\n@@ -0,0 +1 @@\n+zero\n", BEFORE, {"src/x.c": b"zero\n" + BEFORE}),
    ("--- a/src/x.c\n+++ b/src/x.c\n@@ -2,0 +3 @@\n+more\n@@ -4 +4,0 @@\n-four\n", BEFORE,
     {"src/x.c": b"one\ntwo\nmore\nthree\nfive\nsix\nseven\n"}),
    ("--- a/src/x.c\n+++ b/src/x.c\n@@ -7 +7 @@\n-seven\n\\ No newline at end of file\n+SEVEN\n", BEFORE[:-1],
     {"src/x.c": BEFORE.replace(b"seven", b"SEVEN")}),
    ("--- a/src/x.c\n+++ b/src/x.c\n@@ -7 +7 @@\n-seven\n+SEVEN\n\\ No newline at end of file\n", BEFORE,
     {"src/x.c": BEFORE.replace(b"seven\n", b"SEVEN")}),
    ("--- a/src/x.c\n+++ b/src/x.c\n@@ -1,2 +1,2 @@\n one\r\n-two\r\n+TWO\r\n", crlf(BEFORE), {"src/x.c": crlf(BEFORE.replace(b"two", b"TWO"))}),
    ("--- a/src/x.c\n+++ b/src/x.c\n@@ -1 +1 @@\n--- a/one\n+++ b/one\n", b"-- a/one\n", {"src/x.c": b"++ b/one\n"}),
    (NEW, BEFORE, {"src/x.c": BEFORE, "src/new.c": b"one\ntwo\n"}),
    (NEW.replace("src/new.c", "src/deep/new.c"), BEFORE, {"src/x.c": BEFORE, "src/deep/new.c": b"one\ntwo\n"}),
    (GONE, BEFORE, {}),
    (GONE + NEW, BEFORE, {"src/new.c": b"one\ntwo\n"}),
], ids=lambda value: None)
def test_a_patch_that_fits_is_applied(load, tmp_path, diff, before, after):
    patches, tree = load("patches"), tree_of(tmp_path, before)
    patches.apply(patches.load(folder_of(tmp_path, diff)), tree)
    assert contents(tree) == after


@pytest.mark.parametrize(("diff", "before", "why"), [
    (FOUR, b"zero\n" + BEFORE, "line 3 and what follows"),                              # another place
    (FOUR.replace("-3,3 +3,3", "-4,3 +4,3"), BEFORE, "line 4 and what follows"),        # another line number
    (FOUR.replace("-3,3 +3,3", "-3,3 +4,3"), BEFORE, "line 4 of the result would be line 3"),
    (FOUR, BEFORE.replace(b"three", b"THREE"), "line 3 and what follows"),              # fuzz
    (FOUR, BEFORE.replace(b"three", b"three "), "line 3 and what follows"),
    (FOUR, crlf(BEFORE), "line 3 and what follows"),
    (crlf(FOUR), BEFORE, "line 3 and what follows"),
    (FOUR, AFTER, "line 3 and what follows"),                                           # applied already
    (FOUR + FOUR, BEFORE, "named twice"),
    (FOUR, b"one\ntwo\nthree\n", "line 3 and what follows"),
    (FOUR, BEFORE[:23], "line 3 and what follows"),     # the last line of the hunk has no end
    (FOUR.replace("x.c", "missing.c"), BEFORE, "src/missing.c cannot be read: No such file"),
    (NEW.replace("new.c", "x.c"), BEFORE, "x.c is to be made and is there"),
    (GONE, BEFORE + b"eight\n", "has more than that"),
    (FOUR.replace("b/src/x.c", "b/src/y.c"), BEFORE, "not renamed"),
    (FOUR.replace("/src/x.c", "/../x.c"), BEFORE, "is no file of its source"),
    (FOUR.replace("a/src/x.c", "/src/x.c"), BEFORE, "is no file of its source"),
    (FOUR.replace("--- a/src/x.c\n+++ b/src/x.c\n", "--- /dev/null\n+++ /dev/null\n"), BEFORE, "not renamed"),
    (FOUR.replace("+++ b/src/x.c\n", ""), BEFORE, "does not name the changed file"),
    (FOUR[:-6], BEFORE, "ends too early"),
    (FOUR[:-1], BEFORE, "ends too early"),
    (FOUR.replace("+3,3", "+3,2"), BEFORE, "the hunk has more lines than it says"),
    (FOUR + "+more\n", BEFORE, "belongs to no hunk"),
    (FOUR + "@@ -1 +1 @@\n-one\n+ONE\n", BEFORE, "not in order"),
    ("--- a/src/x.c\n+++ b/src/x.c\n@@ broken\n", BEFORE, "belongs to no hunk"),
    ("", BEFORE, "there is no change in it"),
], ids=lambda value: None)
def test_a_patch_that_does_not_fit_ends_the_build_and_changes_nothing(load, tmp_path, diff, before, why):
    patches, tree = load("patches"), tree_of(tmp_path, before)
    with pytest.raises(load("build_tools").BuildError, match=rf"^0\.patch does not fit .*{why}"):
        patches.apply(patches.load(folder_of(tmp_path, NEW.replace("new.c", "other.c") + diff if diff else "")), tree)
    assert contents(tree) == {"src/x.c": before}
    assert not patches.applied(patches.load(folder_of(tmp_path)), tree)


def test_patches_build_on_one_another_in_the_order_of_their_names(load, tmp_path):
    patches, tree = load("patches"), tree_of(tmp_path)
    again = FOUR.replace("+FOUR", "+4").replace("-four", "-FOUR")
    patches.apply(patches.load(folder_of(tmp_path, FOUR, again)), tree)
    assert contents(tree) == {"src/x.c": BEFORE.replace(b"four", b"4")}


@pytest.mark.parametrize("field", ["Releases: ", "Goes: "])
def test_a_patch_says_which_releases_need_it_and_when_it_can_go(load, tmp_path, field):
    folder = folder_of(tmp_path, (HEADER.replace(field, "") + FOUR).encode())
    with pytest.raises(load("build_tools").BuildError, match=f"0.patch has no line that begins with `{field}`"):
        load("patches").load(folder)


def test_our_own_patches_can_be_read(load):
    for patch in load("patches").load():
        assert len(patch.title) < 100 and patch.header.splitlines()[1] == ""


# -- in the build ------------------------------------------------------------------------------------------------------

@pytest.fixture
def release(load, tmp_path, monkeypatch):
    """The builder, with a small release pinned that has BEFORE in src/x.c, and FOLDER in tmp_path."""
    builder = load("build_librdkafka")
    monkeypatch.setattr(builder, "SOURCES", (small_librdkafka.release(
        builder, tmp_path / "release.tar.gz", **{"src/x.c": BEFORE.decode()}),))
    monkeypatch.setattr(load("patches"), "FOLDER", folder_of(tmp_path))
    return builder


def in_src(tree):
    return {name: text for name, text in contents(tree).items() if name in ("src/x.c", "src/new.c")}


def test_the_release_is_patched_when_it_is_unpacked_and_again_when_the_patches_change(load, release, tmp_path):
    folder_of(tmp_path, FOUR)
    tree = release.ready_tree(tmp_path / "build")
    assert in_src(tree) == {"src/x.c": AFTER}
    (tree / "objects").mkdir()
    assert release.ready_tree(tmp_path / "build") == tree and (tree / "objects").exists()
    folder_of(tmp_path, FOUR, NEW)
    release.ready_tree(tmp_path / "build")
    assert in_src(tree) == {"src/x.c": AFTER, "src/new.c": b"one\ntwo\n"}
    assert not (tree / "objects").exists()


def test_an_unpacking_that_is_interrupted_or_does_not_fit_leaves_no_tree(load, release, tmp_path, monkeypatch):
    folder_of(tmp_path, FOUR, FOUR)
    tree = release.source_tree(tmp_path / "build")
    with pytest.raises(release.BuildError, match=r"1\.patch does not fit"):
        release.ready_tree(tmp_path / "build")
    assert not tree.exists()
    folder_of(tmp_path, FOUR, NEW)
    with monkeypatch.context() as patch:
        patch.setattr(load("patches"), "changes", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            release.ready_tree(tmp_path / "build")
    assert not tree.exists()
    assert in_src(release.ready_tree(tmp_path / "build")) == {"src/x.c": AFTER, "src/new.c": b"one\ntwo\n"}


def test_another_patch_is_another_key(load, tmp_path):
    patches = load("patches")
    keys = {patches.key(patches.load(folder_of(tmp_path, *texts)))
            for texts in ([], [FOUR], [FOUR, NEW], [FOUR + NEW, NEW])}
    assert len(keys) == 4


def prefix(tmp_path):
    (tmp_path / "include" / "librdkafka").mkdir(parents=True)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "librdkafka.so").touch()
    (tmp_path / "include" / "librdkafka" / "rdkafka.h").write_text("#define RD_KAFKA_VERSION 0x020f01ff\n")
    return tmp_path


@pytest.mark.parametrize(("bundled", "diffs", "patched"), [(True, [FOUR], True), (True, [], False), (False, [FOUR], False)])
def test_patches_are_announced_only_for_a_librdkafka_that_has_them(load, tmp_path, monkeypatch, bundled, diffs, patched):
    builder = load("build_librdkafka")
    monkeypatch.setattr(load("patches"), "FOLDER", folder_of(tmp_path, *diffs))
    library = builder.from_prefix(prefix(tmp_path), "built here", bundled=bundled)
    assert ("-DKAFKAPP_PATCHED_LIBRDKAFKA" in library.cflags) == patched
    stated = library.verdict().splitlines()[0]
    assert stated == "librdkafka 2.15.1 (built here" + ", with kafkapp's patches" * patched + ")"


def test_the_bill_of_materials_names_them(load, tmp_path, monkeypatch):
    monkeypatch.setattr(load("patches"), "FOLDER", folder_of(tmp_path, FOUR, NEW))
    text = load("sbom").document("1.2.3")
    listed = {item["name"]: item.get("pedigree", {}) for item in json.loads(text)["components"]}
    stated = listed["librdkafka"]["patches"]
    assert [patch["resolves"][0]["id"] for patch in stated] == ["0.patch", "1.patch"]
    assert stated[0]["resolves"][0]["name"] == "A test's patch" and FOUR in stated[0]["diff"]["text"]["content"]
    assert [name for name, pedigree in listed.items() if "patches" in pedigree] == ["librdkafka"]
    validation = pytest.importorskip("cyclonedx.validation.json")
    checker = validation.JsonStrictValidator(pytest.importorskip("cyclonedx.schema").SchemaVersion.V1_6)
    assert checker.validate_str(text) is None
