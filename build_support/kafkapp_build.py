"""The build backend: setuptools' own, plus the choice of librdkafka and of the tools on this machine.

Used by pip and build (pyproject.toml) and by setup.py. Decides where files go; build_librdkafka provides librdkafka.
"""
import concurrent.futures
import contextlib
import functools
import gzip
import io
import json
import os
import shlex
import shutil
import subprocess
import sysconfig
import tarfile
import tempfile
from pathlib import Path

import build_librdkafka
import build_tools
import hardening
import node_client
import progress
import python_headers
import sbom
import stub_docstrings
from library import MACOS
from setuptools import build_meta
from setuptools.command.bdist_wheel import bdist_wheel as setuptools_bdist_wheel
from setuptools.command.build_ext import build_ext as setuptools_build_ext
from setuptools.command.build_py import build_py as setuptools_build_py


def hook(function):
    """A hook that locks its folder, or works on a copy if the folder is not writable."""
    @functools.wraps(function)
    def wrapped(*arguments, **keywords):
        arguments = [os.path.abspath(argument) if isinstance(argument, str) else argument for argument in arguments]
        progress.begin()
        with build_tools.one_line(), writable_place("editable" in function.__name__), build_tools.lock("build"):
            build_tools.have_room("build")
            for old in (*Path("build").glob("lib"), *Path("build").glob("lib.*")):
                shutil.rmtree(old)      # setuptools would pack what an earlier layout has left there
            return function(*arguments, **keywords)

    return wrapped


@contextlib.contextmanager
def writable_place(editable):
    """A writable source folder: a build writes beside the sources, which may be read-only or another user's."""
    here = Path.cwd()
    if all(os.access(path, os.W_OK) for path in (here, *here.glob("build"), *here.glob("build/*"),
                                                 *here.glob("kafkapp.egg-info"), *here.glob("kafkapp.egg-info/*"))):
        yield
        return
    if editable:
        raise build_tools.BuildError(f"{here} or its build folder is not writable, and an editable installation builds "
                                     "there: make it writable, or install without -e")
    build_tools.say(f"{here} or its build folder is not writable: building in a copy")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "kafkapp")
        anywhere = shutil.ignore_patterns("*.egg-info", "__pycache__", "*.so")
        shutil.copytree(here, copy, ignore=lambda folder, names: anywhere(folder, names) | (
            {".git", ".venv", "build", "dist"} if Path(folder) == here else set()))     # tests/build stays
        for file in (copy, *copy.rglob("*")):
            file.chmod(file.stat().st_mode | 0o200)
        os.chdir(copy)
        try:
            yield
        finally:
            os.chdir(here)


get_requires_for_build_sdist = hook(build_meta.get_requires_for_build_sdist)
prepare_metadata_for_build_wheel = hook(build_meta.prepare_metadata_for_build_wheel)
prepare_metadata_for_build_editable = hook(build_meta.prepare_metadata_for_build_editable)
build_wheel = hook(build_meta.build_wheel)
build_editable = hook(build_meta.build_editable)


@hook
def get_requires_for_build_wheel(config_settings=None):
    return build_meta.get_requires_for_build_wheel(config_settings) + npm_client()


@hook
def get_requires_for_build_editable(config_settings=None):
    return build_meta.get_requires_for_build_editable(config_settings) + npm_client()


def npm_client():
    """The npm client as a Python package, if librdkafka must come from npm and there is no client."""
    return [node_client.REQUIREMENT] if build_librdkafka.needs_npm() else []


@hook
def build_sdist(sdist_directory, config_settings=None):
    """setuptools' archive without untracked files; reproducible under SOURCE_DATE_EPOCH."""
    name = build_meta.build_sdist(sdist_directory, config_settings)
    file = Path(sdist_directory, name)
    with tarfile.open(file) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar.getmembers() if member.isfile()]
    tracked = git_files()
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    text = io.BytesIO()
    with tarfile.open(fileobj=text, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in sorted(members, key=lambda pair: pair[0].name):
            inside = member.name.partition("/")[2]
            if tracked and inside not in tracked and not made_by_setuptools(inside):
                continue
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.pax_headers = {}
            member.mtime = int(epoch) if epoch else int(member.mtime)
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            tar.addfile(member, io.BytesIO(data))
    with open(file, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=int(epoch or 0)) as packed:
        packed.write(text.getvalue())
    return name


def git_files():
    """The files that git tracks; empty without git or outside a checkout."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z", "--full-name"], check=False, capture_output=True, text=True)
    except OSError:
        return set()
    return set(listed.stdout.split("\0")) if listed.returncode == 0 and Path(".git").exists() else set()


def made_by_setuptools(name):
    return name in ("PKG-INFO", "setup.cfg") or name.startswith("kafkapp.egg-info/")


class bdist_wheel(setuptools_bdist_wheel):
    """Adds the bill of materials and the licences of the linked libraries, if those are pinned."""

    def write_wheelfile(self, wheelfile_base, *arguments, **keywords):
        super().write_wheelfile(wheelfile_base, *arguments, **keywords)
        library = self.get_finalized_command("build_ext").library
        if library and library.licences:
            for folder in ("sboms", "licenses"):
                Path(wheelfile_base, folder).mkdir(exist_ok=True)
            for licence in library.licences:
                shutil.copy(licence, Path(wheelfile_base, "licenses"))
            used = json.loads((library.licences[0].parents[1] / "sources.json").read_text())
            bill = sbom.document(self.distribution.get_version(), used)
            Path(wheelfile_base, "sboms", "kafkapp.cdx.json").write_text(bill)


class build_py(setuptools_build_py):
    """Copies the Python files, and gives the copies of the stubs the docstrings of the modules."""

    def run(self):
        super().run()
        if not self.editable_mode:
            stub_docstrings.write(self.build_lib)


class build_ext(setuptools_build_ext):
    """Builds the modules in parallel with librdkafka, and puts that beside them if we built it."""

    directives = None   # Cython's
    own_flags = {}      # {source: the compiler's flags for it alone, beyond -O2}
    library = None      # the librdkafka that was linked

    def run(self):
        build_tools.HALTED.clear()
        with build_tools.one_line(), build_tools.lock("build"):
            build_tools.have_room("build")
            progress.begin()
            self.find_compiler()
            cflags, finish = build_librdkafka.prepare()
            include_dirs = python_headers.include_dirs()
            for extension in self.extensions:
                extension.include_dirs += include_dirs
                extension.extra_compile_args += self.compile_flags()
            with concurrent.futures.ThreadPoolExecutor(1) as background:
                self.building = cflags, background.submit(finish)
                super().run()   # build_extensions, and where the modules go
            build_librdkafka.say(self.library.verdict())
            for folder in [Path(self.build_lib), *([Path()] if self.inplace else [])]:
                self.place(folder / "kafkapp")

    def find_compiler(self):
        """Set CC if the compiler that Python was built with is not installed."""
        found = build_tools.compiler()
        if "CC" not in os.environ and not shutil.which(shlex.split(sysconfig.get_config_var("CC") or "cc")[0]):
            os.environ["CC"] = shlex.join(found)

    def compile_flags(self):
        """No debugging symbols unless CFLAGS asks for them: they take a quarter of the time. No warning is an error."""
        debugging = any(word.startswith("-g") for word in build_tools.variable("CFLAGS"))
        return [*hardening.compile_flags(), "-pipe", "-Wno-error", *(["-g0"] if not debugging else [])]

    def link_args(self, library):
        flags = [*library.ldflags, *hardening.link_flags()]
        if library.licences and not MACOS:     # for a wheel: no names of its own
            flags += ["-Wl,-s", "-Wl,--build-id=none"]
        return flags

    def build_extensions(self):
        if os.environ.get("KAFKAPP_LIBRDKAFKA") == "pinned":
            # Some Pythons add their own installation folder as an rpath.
            self.compiler.linker_so = [flag for flag in self.compiler.linker_so if not flag.startswith("-Wl,-rpath")]
        import compile_modules  # needs Cython, which a hook that builds nothing does not have
        cflags, future = self.building
        compile_modules.Modules(self, self.directives).build(cflags, future)
        self.library = future.result()

    def place(self, folder):
        """Replaces the files of an earlier build, which may have had another librdkafka, or a file for each module."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob("librdkafka*"), *folder.glob("libkafkapp*"), *folder.glob("*/*.so")):
            old.unlink()
        (folder / "librdkafka.txt").write_text(self.library.verdict())
        for file in self.library.files:
            build_tools.replace(file, folder / file.name)
