"""Contents of a built wheel, read from the file that KAFKAPP_WHEEL names: hardening, names, licences, bill of materials.

Needs no kafkapp installed: `KAFKAPP_WHEEL=... pytest --confcutdir=tests/wheel tests/wheel`. Knows the table of the native parts.
"""
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "build_support"))
from native_table import LIBRDKAFKA, PARTS, WITHIN_LIBRDKAFKA  # noqa: E402

sys.path.pop(0)
elffile = pytest.importorskip("elftools.elf.elffile")
LARGEST = 8 << 20       # bytes of the whole wheel; confluent-kafka 2.16.1's has 5.0 MB
SYSTEM = re.compile(r"(libc|libpthread|libdl|libm|librt|ld-linux\S*|libgcc_s|libc\.musl-\w+|ld-musl-\w+)\.so(\.\d+)?")
FORTIFIED = {"__memcpy_chk", "__snprintf_chk", "__vsnprintf_chk", "__strcpy_chk", "__fprintf_chk", "__read_chk"}
ENDBR64 = b"\xf3\x0f\x1e\xfa"


@pytest.fixture(scope="module")
def path():
    if not os.environ.get("KAFKAPP_WHEEL"):
        pytest.skip("KAFKAPP_WHEEL names no wheel")
    return Path(os.environ["KAFKAPP_WHEEL"]).absolute()


@pytest.fixture(scope="module")
def files(path):
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


@pytest.fixture(scope="module")
def libraries(files):
    """{name: ELFFile} of librdkafka and of the shared object that all modules are in."""
    found = {name: elffile.ELFFile(io.BytesIO(data)) for name, data in files.items() if data[:4] == b"\x7fELF"}
    assert len(found) == 2 and sum(map(is_librdkafka, found)) == 1, [*found]
    return found


def dynamic(elf, tag):
    return [entry for entry in elf.get_section_by_name(".dynamic").iter_tags() if entry.entry.d_tag == tag]


def segment(elf, kind):
    return next((found for found in elf.iter_segments() if found.header.p_type == kind), None)


def symbols(elf):
    """(defined, undefined) names in the dynamic symbol table."""
    names = [[], []]
    for symbol in elf.get_section_by_name(".dynsym").iter_symbols():
        if symbol.name:
            names[symbol.entry.st_shndx == "SHN_UNDEF"].append(symbol)
    return names


def is_librdkafka(name):
    return Path(name).name.startswith("librdkafka")


def glibc(path):
    return "manylinux" in path.name or "-linux_" in path.name


# -- hardening ---------------------------------------------------------------------------------------------------------

def test_all_is_bound_at_the_start_and_then_read_only(libraries):
    for name, elf in libraries.items():
        assert segment(elf, "PT_GNU_RELRO"), name
        flags = [entry.entry.d_val for entry in dynamic(elf, "DT_FLAGS")]
        assert flags and flags[0] & 0x8, f"{name}: no BIND_NOW"
        assert not dynamic(elf, "DT_TEXTREL"), name


def test_no_stack_can_be_run_and_no_memory_is_writable_and_executable(libraries):
    for name, elf in libraries.items():
        assert segment(elf, "PT_GNU_STACK").header.p_flags & 1 == 0, name
        assert [found for found in elf.iter_segments() if found.header.p_flags & 3 == 3] == [], name


def test_stacks_are_guarded_and_calls_checked(libraries, path):
    undefined = {name: {symbol.name for symbol in symbols(elf)[1]} for name, elf in libraries.items()}
    assert [name for name, used in undefined.items() if "__stack_chk_fail" not in used] == []
    if glibc(path):
        assert FORTIFIED - {used for name in undefined if is_librdkafka(name) for used in undefined[name]} <= {
            "__strcpy_chk", "__fprintf_chk", "__read_chk"}


def test_functions_may_only_be_entered_where_they_begin(libraries):
    for name, elf in libraries.items():
        if elf.get_machine_arch() != "x64":
            pytest.skip("CET is x86's")
        text = elf.get_section_by_name(".text")
        functions = [symbol for symbol in symbols(elf)[0] if symbol.entry.st_info.type == "STT_FUNC"]
        assert functions, name
        for symbol in functions:
            at = symbol.entry.st_value - text.header.sh_addr
            assert text.data()[at:at + 4] == ENDBR64, f"{name}: {symbol.name}"


def test_only_what_is_ours_is_visible(libraries):
    for name, elf in libraries.items():
        seen = {symbol.name for symbol in symbols(elf)[0]}
        ours = r"rd_kafka_\w+|rd_ut_coverage_check" if is_librdkafka(name) else r"PyInit_\w+"
        assert [symbol for symbol in seen if not re.fullmatch(ours, symbol)] == [], name
        assert elf.get_section_by_name(".symtab") is None, f"{name}: not stripped"
        assert [section.name for section in elf.iter_sections() if section.name.startswith(".debug")] == [], name


def test_no_path_of_the_machine_that_built_it_is_inside(files):
    here = [re.escape(str(folder)).encode() for folder in (ROOT, Path.home())]
    machine = re.compile(rb"(/project/|/home/|/root/|/work/|/tmp/[\w.-]+/|/opt/python|/host/|"
                         + b"|".join(here) + rb")[\w./-]*")
    assert {name: found[0] for name, data in files.items() if data[:4] == b"\x7fELF"
            for found in [machine.search(data)] if found} == {}


def test_librdkafka_has_a_name_of_its_own_and_stands_beside_the_modules(libraries):
    librdkafka, modules = sorted(libraries, key=is_librdkafka, reverse=True)
    assert Path(librdkafka).parent == Path(modules).parent
    (soname,) = [entry.soname for entry in dynamic(libraries[librdkafka], "DT_SONAME")]
    assert soname == Path(librdkafka).name and soname != "librdkafka.so.1"
    assert soname in {entry.needed for entry in dynamic(libraries[modules], "DT_NEEDED")}
    paths = [entry.runpath if entry.entry.d_tag == "DT_RUNPATH" else entry.rpath
             for tag in ("DT_RPATH", "DT_RUNPATH") for entry in dynamic(libraries[modules], tag)]
    assert paths and re.fullmatch(r"\$ORIGIN[./\w-]*", paths[0]), paths
    for name, elf in libraries.items():
        needed = {entry.needed for entry in dynamic(elf, "DT_NEEDED")}
        assert [lib for lib in needed - {soname} if not SYSTEM.fullmatch(lib)] == [], name


def test_every_compiled_module_is_inside(files, libraries):
    """They have a stub and no source."""
    modules = next(elf for name, elf in libraries.items() if not is_librdkafka(name))
    compiled = {Path(name).stem for name in files if name.endswith(".pyi") and name.removesuffix("i") not in files}
    assert len(compiled) > 20
    assert {symbol.name for symbol in symbols(modules)[0]} == {f"PyInit_{name}" for name in compiled}


# -- what else is inside -----------------------------------------------------------------------------------------------

def within(files, folder):
    return {name.rsplit("/", 1)[1]: data for name, data in files.items() if f".dist-info/{folder}/" in name}


def test_the_licence_of_everything_inside_is_inside(files):
    licences = within(files, "licenses")
    for part in PARTS:
        assert re.search(rb"(?i)copyright|licen[cs]e", licences[f"{part.name}.txt"]), part.name
    texts = files["kafkapp/librdkafka-LICENSES.txt"]
    for part in (LIBRDKAFKA, *WITHIN_LIBRDKAFKA):
        assert re.match(r"\w{1,6}", part.name.lower())[0].encode() in texts.lower(), part.name


def test_the_bill_of_materials_is_valid_and_says_what_is_linked(files):
    text = within(files, "sboms")["kafkapp.cdx.json"].decode()
    bill = {component["name"]: component for component in json.loads(text)["components"]}
    assert {*bill} == {part.name for part in (LIBRDKAFKA, *PARTS, *WITHIN_LIBRDKAFKA)}
    library = next(data for name, data in files.items() if is_librdkafka(Path(name).name) and data[:4] == b"\x7fELF")
    for name, sign in (("openssl", "OpenSSL {} "), ("zlib", "deflate {} Copyright"),
                       ("curl", "generated by libcurl"), ("librdkafka", "{}")):
        assert sign.format(bill[name]["version"]).encode() in library, name
    for part in (LIBRDKAFKA, *PARTS):
        (used,) = bill[part.name]["externalReferences"]
        assert (used["comment"], used["hashes"][0]["content"]) in {
            (f"{source.kind}: {source.name}", source.sha256) for source in part.sources}


def test_the_bill_follows_the_schema(files):
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    checker = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert checker.validate_str(within(files, "sboms")["kafkapp.cdx.json"].decode()) is None


def test_nothing_else_is_inside(files):
    kinds = r"\.(py|pyi|pxd|so|txt)$|/py\.typed$|\.dist-info/"
    assert [name for name in files if not re.search(kinds, name) and not name.endswith("/")] == []
    assert [name for name in files if not name.startswith(("kafkapp/", "kafkapp-", "kafkapp.libs/"))] == ["pytest_kafkapp.py"]


def test_it_is_as_small_as_the_readme_says(path, files):
    stated = re.search(r"wheel has (\d+(?:\.\d+)?) MB", (ROOT / "README.md").read_text())
    assert path.stat().st_size < LARGEST
    assert stated and path.stat().st_size < float(stated[1]) * 1e6 * 1.15


# -- what the usual checkers say ---------------------------------------------------------------------------------------

def run(*command):
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False, text=True, capture_output=True)


def test_auditwheel_finds_what_the_name_promises(path):
    pytest.importorskip("auditwheel")
    shown = run("auditwheel", "show", str(path))
    assert shown.returncode == 0, shown.stderr
    tags = re.findall(r"(?:many|musl)linux_\d+_\d+_\w+", path.name)
    assert tags, f"{path.name}: not repaired"
    stated = shown.stdout.replace("\n", " ")
    assert any(f'"{tag}"' in stated for tag in tags), shown.stdout


def test_twine_and_check_wheel_contents_have_nothing_to_say(path):
    pytest.importorskip("twine")
    pytest.importorskip("check_wheel_contents")
    checked = run("twine", "check", "--strict", str(path))
    assert checked.returncode == 0, checked.stdout
    checked = run("check_wheel_contents", str(path))
    assert checked.returncode == 0, checked.stdout
