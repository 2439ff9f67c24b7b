"""Builds the extension modules and the C library that they share: Cython and the C compiler in parallel.

Used by kafkapp_build's build_ext while librdkafka is built beside it. Outputs are reused by a digest of their inputs,
not by times, so that a build that was interrupted or had other flags redoes only what it must.
"""
import concurrent.futures
import copy
import hashlib
from pathlib import Path

import build_tools
from Cython import __version__ as cython_version
from Cython.Build import cythonize
from library import CORE, MACOS, SUFFIX, package_of, rpath
from progress import PROGRESS

CYTHON, COMPILE, LINK = 0.5, 2.0, 0.1   # seconds each takes, estimated


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
    """One run over all extensions of a build_ext command."""

    def __init__(self, command, directives):
        self.command, self.compiler, self.directives = command, command.compiler, directives
        self.pool = concurrent.futures.ThreadPoolExecutor(build_tools.CORES)
        self.headers = digest(*(file.read_text("utf-8") for file in sorted(Path("csrc").glob("*.h"))))
        self.objects = {}       # {source: the Future of (object, key)}

    def build(self, cflags, library):
        """Make all; gives the library of C, which belongs beside librdkafka.

        cflags: what librdkafka's headers ask for; library: the Future of the Library to link.
        """
        extensions, core = self.command.extensions, self.command.core
        own = [source for extension in extensions for source in extension.sources if source.endswith(".c")]
        PROGRESS.expect("Cython", len(extensions), CYTHON)
        PROGRESS.expect("C", len(extensions) + len(own) + len(core), COMPILE)
        PROGRESS.expect("modules", len(extensions) + bool(core), LINK)
        try:
            shared = [self.object_of(extensions[0], source, cflags) for source in core]
            made = []
            for extension in extensions:
                sources = [self.c_of(extension), *extension.sources[1:]]
                made.append([self.object_of(extension, source, cflags) for source in sources])
                if library.done():
                    library.result()    # raises if it failed
            self.core = self.pool.submit(self.link_core, shared, library) if core else None
            linked = [self.pool.submit(self.link, extension, objects, library)
                      for extension, objects in zip(extensions, made, strict=True)]
            for future in concurrent.futures.as_completed([*linked, library]):
                future.result()
            return Path(self.core.result()[0]) if core else None
        except BaseException:
            build_tools.HALTED.set()
            raise
        finally:
            self.pool.shutdown(cancel_futures=True)

    def c_of(self, extension):
        """Cython's C of a module: anew if its source is newer, Cython's version differs, or the file is incomplete."""
        source = extension.sources[0]
        made = Made(Path("build", source).with_suffix(".c"))
        force = self.command.force or not made.is_from(self.key_of_c(made.file))
        if force:
            made.begin()
        cythonize([source_only(extension)], build_dir="build", compiler_directives=self.directives, quiet=True,
                  force=force)
        made.done(self.key_of_c(made.file))
        PROGRESS.step("Cython")
        return str(made.file)

    def key_of_c(self, file):
        """Includes the content: Cython goes by times, and may be interrupted while it overwrites a good file."""
        return digest(cython_version, sorted(self.directives.items()), file.read_bytes() if file.exists() else "")

    def object_of(self, extension, source, cflags):
        if source not in self.objects:
            self.objects[source] = self.pool.submit(self.compile, extension, source, cflags)
        return self.objects[source]

    def compile(self, extension, source, cflags):
        if build_tools.HALTED.is_set():
            raise build_tools.BuildError("stopped because another part of the build failed")
        level = "-O2" if source.startswith("csrc") else extension.level
        arguments = [level, *extension.extra_compile_args, *cflags]
        if source in self.command.core:     # what the modules call; among themselves they call as static functions do
            arguments += ["-fvisibility=default", "-fno-semantic-interposition"]
        (name,) = self.compiler.object_filenames([source], output_dir=self.command.build_temp)
        made = Made(name)
        key = digest(self.headers, Path(source).read_text("utf-8"), self.compiler.compiler_so, arguments,
                     extension.include_dirs, [folder_key(flag) for flag in cflags])
        if self.command.force or not made.is_from(key):
            made.begin()
            with build_tools.SEATS:
                self.compiler.compile([source], output_dir=self.command.build_temp, include_dirs=extension.include_dirs,
                                      debug=self.command.debug, extra_postargs=arguments)
            made.done(key)
        PROGRESS.step("C")
        return name, key

    def link_core(self, objects, library):
        """The library that the modules share.

        Its name has a digest of csrc: of two kafkapps in a process the loader would otherwise give both the library of
        one.
        """
        objects, library = [future.result() for future in objects], library.result()
        sources = [Path(source).read_text("utf-8") for source in self.command.core]
        contents = digest(self.headers, *sources, library.version)[:8]
        name = f"{CORE}-{contents}{SUFFIX}"
        arguments, compiler = self.command.link_args("kafkapp.core", library), copy.copy(self.compiler)
        if MACOS:   # Python's linker makes bundles, which nothing can be linked with
            compiler.linker_so = [flag for flag in compiler.linker_so if flag != "-bundle"]
            arguments += ["-dynamiclib", f"-Wl,-install_name,@rpath/{name}"]
        else:
            arguments += [f"-Wl,-soname,{name}", "-Wl,-Bsymbolic"]
        return self.linked(compiler, name, objects, arguments, library, [])

    def link(self, extension, objects, library):
        objects, library = [future.result() for future in objects], library.result()
        arguments = [*extension.extra_link_args, *self.command.link_args(extension.name, library)]
        if self.core:
            core, key = self.core.result()
            arguments += [core, *rpath(package_of(extension.name))]
            objects.append((None, key))
        file = Path(self.command.get_ext_fullpath(extension.name))
        libraries = self.command.get_libraries(extension)
        name = f"{extension.name}{SUFFIX}"      # whole: rooms have modules of one name
        made, _ = self.linked(self.compiler, name, objects, arguments, library, libraries)
        build_tools.replace(made, file)

    def linked(self, compiler, name, objects, arguments, library, libraries):
        """The linker's work, unless it is there as it would be; gives the file and its key."""
        made = Made(Path(self.command.build_temp, name))
        files = [digest(path.read_bytes()) for path in library.files[:1]]
        key = digest(*(key for _, key in objects), compiler.linker_so, arguments, library.verdict(), *files)
        if self.command.force or not made.is_from(key):
            made.begin()
            with build_tools.SEATS:
                compiler.link_shared_object(
                    [name for name, _ in objects if name], str(made.file), libraries=libraries,
                    debug=self.command.debug, extra_postargs=arguments, build_temp=self.command.build_temp)
            made.done(key)
        PROGRESS.step("modules")
        return str(made.file), key


def source_only(extension):
    """The module without its C files, which Cython would check each time."""
    return type(extension)(extension.name, extension.sources[:1], include_dirs=extension.include_dirs)


def folder_key(flag):
    """A digest of librdkafka's headers: the flag only names their folder."""
    folder = Path(flag[2:], "librdkafka")
    return digest(*(file.read_bytes() for file in sorted(folder.glob("*.h")))) if flag.startswith("-I") else flag
