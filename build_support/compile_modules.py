"""Builds the shared object that all modules are in: Cython and the C compiler in parallel, then one link.

Used by kafkapp_build's build_ext while librdkafka is built beside it. Outputs are reused by a digest of their inputs,
not by times, so that a build that was interrupted or had other flags redoes only what it must.
"""
import concurrent.futures
import hashlib
from pathlib import Path

import build_tools
from Cython import __version__ as cython_version
from Cython.Build import cythonize
from library import SUFFIX
from progress import PROGRESS
from setuptools import Extension

CYTHON, COMPILE, LINK = 0.5, 2.0, 0.5   # seconds each takes, estimated


def digest(*facts):
    return hashlib.sha256("\0".join(map(str, facts)).encode(**build_tools.TEXT)).hexdigest()


class Made:
    """The mark beside an output file: it is complete, and a digest of its inputs."""

    def __init__(self, file):
        self.file, self.mark = Path(file), Path(f"{file}.made")

    def is_from(self, key):
        try:
            return self.file.exists() and self.mark.read_text() == key
        except OSError:
            return False

    def begin(self):
        """Remove the file, which may be incomplete or another user's: Cython would not overwrite that."""
        for file in (self.mark, self.file):
            file.unlink(missing_ok=True)

    def done(self, key):
        self.mark.write_text(key)


class Modules:
    """One build of the extension that all modules are in."""

    def __init__(self, command, directives):
        self.command, self.compiler, self.directives = command, command.compiler, directives
        (self.extension,) = command.extensions
        self.pool = concurrent.futures.ThreadPoolExecutor(build_tools.CORES)
        self.headers = digest(*(file.read_text("utf-8") for file in sorted(Path("csrc").glob("*.h"))))

    def build(self, cflags, library):
        """Make it. cflags: what librdkafka's headers ask for; library: the Future of the Library to link."""
        sources = self.extension.sources
        PROGRESS.expect("Cython", sum(source.endswith(".pyx") for source in sources), CYTHON)
        PROGRESS.expect("C", len(sources), COMPILE)
        PROGRESS.expect("link", 1, LINK)
        try:
            objects = []
            for source in sources:
                c = self.c_of(source) if source.endswith(".pyx") else source
                objects.append(self.pool.submit(self.compile, c, self.command.own_flags.get(source, []), cflags))
                if library.done():
                    library.result()    # raises if it failed
            for future in concurrent.futures.as_completed([*objects, library]):
                future.result()
            self.link([future.result() for future in objects], library.result())
        except BaseException:
            build_tools.HALTED.set()
            raise
        finally:
            self.pool.shutdown(cancel_futures=True)

    def c_of(self, source):
        """Cython's C of a module: anew if its source is newer, Cython's version differs, or the file is incomplete."""
        made = Made(Path("build", source).with_suffix(".c"))
        force = self.command.force or not made.is_from(self.key_of_c(made.file))
        if force:
            made.begin()
        module = Extension(source.removesuffix(".pyx").replace("/", "."), [source],
                           include_dirs=self.extension.include_dirs)
        cythonize([module], build_dir="build", compiler_directives=self.directives, quiet=True, force=force)
        made.done(self.key_of_c(made.file))
        PROGRESS.step("Cython")
        return str(made.file)

    def key_of_c(self, file):
        """Includes the content: Cython goes by times, and may be interrupted while it overwrites a good file."""
        return digest(cython_version, sorted(self.directives.items()), file.read_bytes() if file.exists() else "")

    def compile(self, source, own_flags, cflags):
        """The object file of a C file, and its key."""
        if build_tools.HALTED.is_set():
            raise build_tools.BuildError("stopped because another part of the build failed")
        arguments = ["-O2", *own_flags, *self.extension.extra_compile_args, *cflags]
        include_dirs = self.extension.include_dirs
        (name,) = self.compiler.object_filenames([source], output_dir=self.command.build_temp)
        made = Made(name)
        key = digest(self.headers, Path(source).read_text("utf-8"), self.compiler.compiler_so, arguments,
                     include_dirs, [folder_key(flag) for flag in cflags])
        if self.command.force or not made.is_from(key):
            made.begin()
            with build_tools.SEATS:
                self.compiler.compile([source], output_dir=self.command.build_temp, include_dirs=include_dirs,
                                      debug=self.command.debug, extra_postargs=arguments)
            made.done(key)
        PROGRESS.step("C")
        return name, key

    def link(self, objects, library):
        """The linker's work, unless it is there as it would be."""
        made = Made(Path(self.command.build_temp, f"{self.extension.name}{SUFFIX}"))
        arguments, libraries = self.command.link_args(library), self.command.get_libraries(self.extension)
        files = [digest(path.read_bytes()) for path in library.files[:1]]
        key = digest(*(key for _, key in objects), self.compiler.linker_so, arguments, library.verdict(), *files)
        if self.command.force or not made.is_from(key):
            made.begin()
            with build_tools.SEATS:
                self.compiler.link_shared_object(
                    [name for name, _ in objects], str(made.file), libraries=libraries, debug=self.command.debug,
                    extra_postargs=arguments, build_temp=self.command.build_temp)
            made.done(key)
        build_tools.replace(made.file, Path(self.command.get_ext_fullpath(self.extension.name)))
        PROGRESS.step("link")


def folder_key(flag):
    """A digest of librdkafka's headers: the flag only names their folder."""
    folder = Path(flag[2:], "librdkafka")
    return digest(*(file.read_bytes() for file in sorted(folder.glob("*.h")))) if flag.startswith("-I") else flag
