"""The extension: its sources, directives and flags. Everything else about the package is in pyproject.toml."""
import sys
from pathlib import Path

sys.path.insert(0, "build_support")

from kafkapp_build import bdist_wheel, build_ext, build_py
from setuptools import Extension, setup

# One shared object has all modules, kafkapp/ROOM/NAME.pyx, and all of csrc/: what is in it is in a process once.
# _modules finds the others there by the last parts of their names, which have to differ.
SHARED = "kafkapp/_modules.pyx"
MODULES = sorted(file.as_posix() for file in Path("kafkapp").glob("*/*.pyx"))
CSRC = sorted(file.as_posix() for file in Path("csrc").glob("*.c"))
DIRECTIVES = {
    "language_level": 3,
    "auto_pickle": False,
    "autotestdict": False,
    "binding": False,       # methods are CPython's descriptors: they check `self`, which Cython's functions do not
    "embedsignature": True,
    "embedsignature.format": "clinic",
    "freethreading_compatible": True,       # csrc/atomics.h says what replaces the GIL
}
CFLAGS = ["-Wall", "-Wextra", "-fvisibility=hidden", "-fno-plt",    # the last: what a call of librdkafka costs
          "-Werror=incompatible-pointer-types"]     # as gcc 14 has it: a C function that stands for a method
# Modules that no record passes through: compiled for a short build, not for speed. All else is: -O2.
COLD = {"common.errors", "common.timeouts", "common.forks", "config.application", "client.blocking_calls",
        "client.shutdown", "producer.transactions", "testing.mock_cluster"}


def name_of(source):
    """`client.handle` for `kafkapp/client/handle.pyx`."""
    return source.removeprefix("kafkapp/").removesuffix(".pyx").replace("/", ".")


names = " ".join(f"kafkapp.{name_of(source)}" for source in MODULES)
build_ext.directives = DIRECTIVES
build_ext.own_flags = {source: ["-O1"] for source in MODULES if name_of(source) in COLD}
build_ext.own_flags[SHARED] = ["-O1", f'-DKAFKAPP_MODULES="{names}"']
setup(ext_modules=[Extension("kafkapp._modules", [*CSRC, SHARED, *MODULES], include_dirs=["csrc"],
                             extra_compile_args=CFLAGS)],
      cmdclass={"bdist_wheel": bdist_wheel, "build_ext": build_ext, "build_py": build_py})
