"""Extension modules: their C sources, directives and flags. Everything else about the package is in pyproject.toml."""
import os
import sys
from pathlib import Path

sys.path.insert(0, "build_support")

from kafkapp_build import bdist_wheel, build_ext
from setuptools import Extension, setup

# Each module is kafkapp/ROOM/NAME.pyx. The C of csrc/ is a library that all of them are linked with: compiled once, and
# in a process once; but for what belongs to one module alone.
MODULES = [
    "common.errors", "common.timeouts", "common.forks", "common.callbacks", "common.numbers", "common.views",
    "config.application",
    "client.events", "client.handle", "client.client", "client.blocking_calls", "client.shutdown",
    "producer.record", "producer.delivery", "producer.service", "producer.columns", "producer.batch", "producer.send",
    "producer.line_splitter", "producer.transactions",
    "producer.producer", "producer.async_producer", "producer.sync_producer",
    "aio.futures", "aio.loop_client", "aio.outbox",
    "testing.mock_cluster",
    "bench.floor",
]
OWN_C = {"bench.floor": ["csrc/bench_floor.c"]}
DIRECTIVES = {
    "language_level": 3,
    "auto_pickle": False,
    "autotestdict": False,
    "embedsignature": True,
    "embedsignature.format": "python",
    "freethreading_compatible": True,       # csrc/atomics.h says what replaces the GIL
}
CFLAGS = ["-Wall", "-Wextra", "-fvisibility=hidden", "-fno-plt"]    # what a call within costs
# Modules that no record passes through: compiled for a short build, not for speed.
COLD = {"common.errors", "common.timeouts", "common.forks", "config.application", "client.blocking_calls",
        "client.shutdown", "producer.transactions", "testing.mock_cluster"}


def source(name):
    return f"kafkapp/{name.replace('.', '/')}.pyx"


def ext(name):
    extension = Extension(f"kafkapp.{name}", [source(name), *OWN_C.get(name, [])], include_dirs=["csrc"],
                          extra_compile_args=CFLAGS.copy())
    extension.level = "-O1" if name in COLD else "-O2"
    return extension


build_ext.directives = DIRECTIVES
build_ext.core = sorted({str(file) for file in Path("csrc").glob("*.c")} - {*sum(OWN_C.values(), [])})
setup(ext_modules=[ext(name) for name in MODULES if os.path.exists(source(name))],
      cmdclass={"bdist_wheel": bdist_wheel, "build_ext": build_ext})
