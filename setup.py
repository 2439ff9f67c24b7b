"""Extension modules: their C sources, directives and flags. Everything else about the package is in pyproject.toml."""
import os
import sys

sys.path.insert(0, "csrc")

from kafkapp_build import bdist_wheel, build_ext
from setuptools import Extension, setup

# Each module is kafkapp/NAME.pyx (a dot: a folder) and the C files of csrc/ that it needs.
MODULES = {
    "errors": [],
    "timeouts": [],
    "forks": [],
    "numbers": [],
    "views": ["csrc/format.c"],
    "records": [],
    "conf": ["csrc/verify.c"],
    "delivery": ["csrc/delivery.c"],
    "events": [],
    "handle": ["csrc/delivery.c", "csrc/destroy.c", "csrc/kept.c", "csrc/report_drain.c"],
    "client": ["csrc/delivery.c", "csrc/kept.c", "csrc/report_drain.c"],
    "columns": ["csrc/arrow.c", "csrc/batch.c", "csrc/delivery.c", "csrc/produce.c"],
    "room": ["csrc/delivery.c", "csrc/produce.c"],
    "batch": ["csrc/batch.c", "csrc/delivery.c", "csrc/produce.c"],
    "sender": ["csrc/delivery.c", "csrc/produce.c"],
    "cutting": ["csrc/batch.c", "csrc/delivery.c", "csrc/line_splitter.c", "csrc/produce.c"],
    "requests": ["csrc/delivery.c"],
    "ending": ["csrc/delivery.c"],
    "transactions": ["csrc/delivery.c"],
    "producer": ["csrc/delivery.c"],
    "futures": ["csrc/delivery.c"],
    "testing": [],
    "bench.floor": ["csrc/bench_floor.c"],
}
DIRECTIVES = {
    "language_level": 3,
    "auto_pickle": False,
    "autotestdict": False,
    "embedsignature": True,
    "embedsignature.format": "python",
    "freethreading_compatible": True,       # csrc/delivery.h says what replaces the GIL
}
CFLAGS = ["-Wall", "-Wextra", "-fvisibility=hidden"]
# Modules that no record passes through: compiled for a short build, not for speed.
COLD = {"errors", "timeouts", "forks", "conf", "requests", "ending", "transactions", "testing"}


def source(name):
    return f"kafkapp/{name.replace('.', '/')}.pyx"


def ext(name, c_sources):
    extension = Extension(f"kafkapp.{name}", [source(name), *c_sources], include_dirs=["csrc"],
                          extra_compile_args=CFLAGS.copy())
    extension.level = "-O1" if name in COLD else "-O2"
    return extension


build_ext.directives = DIRECTIVES
setup(ext_modules=[ext(name, c_sources) for name, c_sources in MODULES.items() if os.path.exists(source(name))],
      cmdclass={"bdist_wheel": bdist_wheel, "build_ext": build_ext})
