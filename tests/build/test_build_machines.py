"""Builds of librdkafka on different machines: results of configure, flags, folders, tools.

Recorded by the release's own configure: makefile_configs/*.config.
"""
import ctypes
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import build_scripts
import pytest
import small_librdkafka

RECORDED = Path(__file__).parent / "makefile_configs"
PROBES = "-lm {} -ldl -lpthread -lrt -lpthread -lrt"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kafkapp builds no librdkafka on Windows")


@pytest.fixture
def load(monkeypatch):
    for name in ("KAFKAPP_LIBRDKAFKA", "CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "PKG_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    with build_scripts.imported(monkeypatch) as load:
        monkeypatch.setattr(load("patches"), "FOLDER", Path("no-patches"))
        yield load


@pytest.fixture
def builder(load):
    return load("build_librdkafka")


# -- Makefile.config ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "found", "cflags", "libs"), [
    ("nothing", {"HAVE_REGEX"}, [], ""),
    ("zlib-only", {"ZLIB"}, [], "-lz"),
    ("ssl-and-zlib", {"ZLIB", "SSL", "SASL_SCRAM"}, [], "-lssl -lcrypto -lz"),      # what broke the README's first command
    ("ssl-and-zlib-without-pkg-config", {"ZLIB", "SSL", "SASL_SCRAM"}, [], "-lssl -lcrypto -lcrypto -lz"),
    ("everything", {"ZLIB", "SSL", "SASL_SCRAM", "ZSTD", "CURL", "SASL_CYRUS"}, ["-I/usr/include/x86_64-linux-gnu"],
     "-lcurl -lzstd -lsasl2 -lssl -lcrypto -lz"),
    ("ccache", {"ZLIB", "SSL", "ZSTD"}, [], "-lcurl -lzstd -lsasl2 -lssl -lcrypto -lcrypto -lz"),
    ("clang", {"ZLIB", "SSL", "ZSTD"}, ["-I/usr/include/x86_64-linux-gnu"], "-lcurl -lzstd -lsasl2 -lssl -lcrypto -lz"),
    ("flags-of-the-environment", {"ZLIB", "SSL", "ZSTD"}, ["-I/usr/include/x86_64-linux-gnu"],
     "-lcurl -lzstd -lsasl2 -lssl -lcrypto -lz"),
    ("zlib-in-a-folder-with-a-blank", {"ZLIB"}, ["-I/opt/my libs/include"], r"-L/opt/my\ libs/lib -lz"),
])
def test_what_configure_found_is_read_as_make_reads_it(load, name, found, cflags, libs):
    values = load("makefile_config").parse((RECORDED / f"{name}.config").read_text())
    words = load("build_tools").words
    assert words(values.get("CFLAGS", ""), name) == cflags
    assert words(values["LIBS"], name) == shlex.split(PROBES.format(libs))
    assert words(values["CPPFLAGS"], name)[:2] == ["-O2", "-fPIC"]
    assert {what for what in found if "y" not in (values.get(f"WITH_{what}"), values.get(what))} == set()
    assert [name for name in ("ZSTD", "CURL") if values[f"WITH_{name}"] == "y" and name not in found] in ([], ["CURL"])


def test_the_table_has_a_row_for_every_recorded_machine():
    (mark,) = test_what_configure_found_is_read_as_make_reads_it.pytestmark
    assert {row[0] for row in mark.args[1]} == {file.stem for file in RECORDED.glob("*.config")}
    assert len(mark.args[1]) >= 8


@pytest.mark.parametrize(("text", "values"), [
    ("CFLAGS+=\t\nREQUIRES=\tzlib\n", {"CFLAGS": "", "REQUIRES": "zlib"}),
    ("CFLAGS+=\nLIBS+=", {"CFLAGS": "", "LIBS": ""}),
    ("CFLAGS+=  \t \nLIBS+= -lz  \n", {"CFLAGS": "", "LIBS": "-lz"}),
    ("CFLAGS+=\r\nLIBS+=\t-lz\r\n", {"CFLAGS": "", "LIBS": "-lz"}),
    ("LIBS+=\t-lz\nLIBS+=\t-lm\n", {"LIBS": "-lz -lm"}),
    ("LIBS=\t-lz\nLIBS=\t-lm\n", {"LIBS": "-lm"}),
    ("LIBS=\t-lz \\\n\t-lm\n", {"LIBS": "-lz -lm"}),
    ("A:=1\nA?=2\nB?=3\n", {"A": "1", "B": "3"}),
    ("NM=\tnm\nSYMDUMPER=\t$(NM) -D ${NM} $$x\n", {"NM": "nm", "SYMDUMPER": "nm -D nm $x"}),
    ("A=\t$(B)\nB=\t$(A)x\n", {"A": "x", "B": "x"}),
    ("A=\t$(NOBODY)\n", {"A": ""}),
    ("# A=1\n\nnothing at all\nB=\tx=y # not a comment\n", {"B": "x=y # not a comment"}),
    ("", {}),
])
def test_every_value_ends_with_its_line(load, text, values):
    assert load("makefile_config").parse(text) == values


def test_flags_that_no_shell_can_parse_are_reported(load):
    with pytest.raises(load("build_tools").BuildError, match="LIBS in Makefile.config cannot be read .No closing quotation.: -l'z"):
        load("build_tools").words("-l'z", "LIBS in Makefile.config")


# -- building ----------------------------------------------------------------------------------------------------------

@pytest.fixture
def small(builder, tmp_path, monkeypatch):
    """Pins the small release in the place of the real one; gives what builds it in a folder and returns the library."""
    def build(folder="build", **changed):
        monkeypatch.setattr(builder, "SOURCES", (small_librdkafka.release(builder, tmp_path / "release.tar.gz", **changed),))
        prefix = builder.make(tmp_path / folder)
        return ctypes.CDLL(str(prefix / "lib" / "librdkafka.so")), prefix

    return build


@pytest.mark.parametrize("folder", ["build", "a folder/with  blanks", "größer/ж", "it's/a \"quote\"", "per%cent,comma", "$HOME;x"])
def test_any_folder_will_do(small, builder, folder):
    library, prefix = small(folder)
    assert library.rd_kafka_version() == 0x020f01ff
    assert builder.from_prefix(prefix, "built here", bundled=True).features == ("gzip", "small")


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("compiler", ["gcc", "ccache gcc", "clang", "'{}/my tools/gcc' -m64", "env LANG=C gcc"])
def test_any_compiler_will_do(small, tmp_path, monkeypatch, compiler):
    script(tmp_path / "my tools" / "gcc", 'exec gcc "$@"\n')
    command = compiler.format(tmp_path)
    if not shutil.which(shlex.split(command)[0]):
        pytest.skip(f"no {command} here")
    monkeypatch.setenv("CC", command)
    assert small()[0].rd_kafka_version() == 0x020f01ff


@pytest.mark.parametrize(("variables", "name"), [
    ({"CFLAGS": "-DNAME='\"a b\"'"}, b"a b"),
    ({"CPPFLAGS": "-DNAME='\"of CPPFLAGS\"'"}, b"of CPPFLAGS"),
    ({"CFLAGS": "-Werror -Wconversion -Wall -Wextra -DNAME='\"x\"'", "LDFLAGS": "-Wl,--as-needed"}, b"x"),
    ({"CFLAGS": "-O0 -g -DNAME='\"x\"'", "LDFLAGS": "-Wl,-z,now"}, b"x"),
])
def test_the_environments_flags_reach_the_compiler_and_the_linker(small, monkeypatch, variables, name):
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    library = small()[0]
    library.rd_kafka_name.restype = ctypes.c_char_p
    assert library.rd_kafka_name() == name


@pytest.mark.parametrize("how", ["LDFLAGS in the environment", "LDFLAGS in Makefile.config", "LIBS by pkg-config"])
def test_what_configure_was_linked_with_is_linked_with_and_found_when_it_runs(small, tmp_path, monkeypatch, how):
    folder = tmp_path / "my libs"
    folder.mkdir()
    (folder / "far.c").write_text("int far_away(void) { return 42; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", folder / "far.c", "-o", folder / "libfar.so"], check=True)
    flag, quoted = f"-L{folder}", shlex.quote(f"-L{folder}")
    given = small_librdkafka.FILES["configure.given"]
    given = given.replace("-lm", f"{quoted if how.startswith('LIBS') else ''} -lfar -lm")
    if how == "LDFLAGS in the environment":
        monkeypatch.setenv("LDFLAGS", quoted)
    elif how == "LDFLAGS in Makefile.config":
        given += "LDFLAGS+=\t" + flag.replace(" ", "\\ ") + "\n"
    source = small_librdkafka.FILES["src/rdkafka.c"] + "int far_away(void);\nint rd_kafka_far(void) { return far_away(); }\n"
    assert small(**{"configure.given": given, "src/rdkafka.c": source})[0].rd_kafka_far() == 42


def test_a_makefile_config_without_any_line_is_one_that_found_nothing(small):
    assert small(**{"configure.given": ""})[0].rd_kafka_version() == 0x020f01ff


def test_configures_compiler_puts_together_what_a_backslash_holds_together(load, tmp_path):
    text = load("surroundings").wrapper(["printf", "[%s]"], ["-L/a b"])
    script(tmp_path / "compiler.sh", text.partition("\n")[2])
    result = subprocess.run(["sh", tmp_path / "compiler.sh", "-I/opt/my\\", "libs\\", "x", "-c", "", "y"], text=True, capture_output=True, check=True)
    assert result.stdout == "[-I/opt/my libs x][-c][][y][-L/a b]"


def test_other_flags_are_another_library_and_an_interrupted_one_is_made_again(small, builder, tmp_path, monkeypatch):
    loaded, prefix = small()
    library = prefix / "lib" / f"librdkafka-{builder.VERSION}.so"
    first = library.stat().st_mtime_ns
    small()
    assert library.stat().st_mtime_ns == first      # nothing to do
    monkeypatch.setenv("CFLAGS", "-DNAME='\"x\"'")
    with monkeypatch.context() as patch:
        patch.setattr(builder.shutil, "copy", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            small()
    monkeypatch.delenv("CFLAGS")
    assert not (prefix / "librdkafka-build.key").exists()
    small()
    assert loaded.rd_kafka_version() == 0x020f01ff      # what a process has loaded is not written over
    assert (prefix / "librdkafka-build.key").exists() and (prefix / "include" / "librdkafka" / "rdkafka_mock.h").exists()


# -- a broken compiler -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("command", "why"), [
    ("no-such-compiler", "^no-such-compiler is needed to build kafkapp and is missing .Debian: apt-get install gcc libc6-dev.$"),
    ("'unbalanced", "^the environment variable CC cannot be read .No closing quotation."),
    ("false", "^false cannot compile a small C program.*apt-get install gcc libc6-dev"),
    ("{}/folder", "is needed to build kafkapp and is missing"),
    ("gcc --no-such-option", "^gcc --no-such-option cannot compile a small C program(?s:.*)unrecognized"),
])
def test_a_broken_compiler_is_reported_before_anything_is_built(load, tmp_path, monkeypatch, command, why):
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("CC", command.format(tmp_path))
    with pytest.raises(load("build_tools").BuildError, match=why):
        load("build_tools").compiler()


@pytest.mark.parametrize("blank", ["", "   "])
def test_an_empty_variable_is_none(load, monkeypatch, blank):
    monkeypatch.setenv("CC", blank)
    monkeypatch.setenv("PKG_CONFIG", blank)
    assert load("build_tools").compiler() in (["gcc"], ["cc"])
    assert load("library").pkg_config() in (["pkg-config"], None)


# -- pkg-config --------------------------------------------------------------------------------------------------------

FAKE = """for word in "$@"; do case $word in
    --atleast-version=*) exit {known} ;;
    --cflags) echo {cflags} ;;
    --libs) echo {libs} ;;
    --variable=libdir) echo {libdir} ;;
    --modversion) echo 2.15.1 ;;
esac; done
"""


@pytest.fixture
def installed(small, tmp_path, monkeypatch):
    """Installs the small librdkafka into a folder with a blank, and a pkg-config that knows of it."""
    prefix = small()[1].rename(tmp_path / "an installed one")
    def install(known=0, cflags="-I{}/include", libs="-L{}/lib -lrdkafka", libdir="{}/lib", arguments=""):
        place = str(prefix).replace(" ", r"\ ")
        texts = {name: shlex.quote(text.format(place)) for name, text in (("cflags", cflags), ("libs", libs), ("libdir", libdir))}
        fake = script(tmp_path / "tools" / "my-pkg-config", FAKE.format(known=known, **texts))
        monkeypatch.setenv("PKG_CONFIG", f"{fake} {arguments}")
        return prefix

    return install


@pytest.mark.parametrize("keywords", [{}, {"arguments": "--define-prefix"}, {"libdir": ""}, {"libdir": "/none"}])
def test_what_pkg_config_says_is_read_by_a_shells_rules(builder, installed, monkeypatch, keywords):
    prefix = installed(**keywords)
    monkeypatch.setenv("KAFKAPP_LIBRDKAFKA", "system")
    library = builder.locate()
    assert library.cflags == (f"-I{prefix}/include",)
    assert library.ldflags == (f"-L{prefix}/lib", "-lrdkafka", f"-Wl,-rpath,{prefix}/lib")
    assert library.features == ("gzip", "small")


@pytest.mark.parametrize("keywords", [{"cflags": "-include no-such-header.h"}, {"libs": "-lno-such-library"}, {"libs": "-L'x"}])
def test_an_installed_one_that_is_broken_is_skipped_or_reported(load, builder, installed, monkeypatch, capfd, keywords):
    installed(**keywords)
    assert load("library").usable_system() is None
    assert "the installed librdkafka is skipped: " in capfd.readouterr().err
    monkeypatch.setenv("KAFKAPP_LIBRDKAFKA", "system")
    with pytest.raises(builder.BuildError, match="apt-get install --reinstall librdkafka-dev|cannot be read"):
        builder.locate()


@pytest.mark.parametrize(("tool", "mode"), [("absent", None), ("not-to-be-run", 0o644), ("crashes", 0o755)])
def test_a_pkg_config_that_is_none_finds_none(load, tmp_path, monkeypatch, tool, mode):
    if mode:
        script(tmp_path / tool, "kill -SEGV $$\n").chmod(mode)
    monkeypatch.setenv("PKG_CONFIG", str(tmp_path / tool))
    assert load("library").have_system() is False


def test_a_prefix_without_a_version_is_reported(builder, tmp_path, monkeypatch):
    for name in ("include/librdkafka/rdkafka.h", "lib/librdkafka.so"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setenv("KAFKAPP_LIBRDKAFKA", str(tmp_path))
    with pytest.raises(builder.BuildError, match="does not say which librdkafka"):
        builder.locate()


@pytest.mark.parametrize(("tool", "package"), [("bash", "bash"), ("ld", "binutils")])
def test_a_tool_that_is_missing_is_named_with_its_package(builder, tmp_path, monkeypatch, tool, package):
    which = shutil.which
    monkeypatch.setattr(builder.shutil, "which", lambda name, *rest: None if name == tool else which(name, *rest))
    with pytest.raises(builder.BuildError, match=f"^{tool} is needed .*apt-get install {package}.$"):
        builder.make(tmp_path / "build")
    assert os.listdir(tmp_path) == []
