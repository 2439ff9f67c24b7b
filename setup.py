"""The extension modules. Everything else about the package stands in pyproject.toml."""
import os
import subprocess

from Cython.Build import cythonize
from setuptools import Extension, setup

DIRECTIVES = {
    "language_level": 3,
    "auto_pickle": False,
    "autotestdict": False,
    "embedsignature": True,
    "embedsignature.format": "python",
}


def pkg_config(flag):
    return subprocess.check_output(["pkg-config", flag, "rdkafka"], text=True).split()


CFLAGS, LIBS = pkg_config("--cflags"), pkg_config("--libs")


C_SOURCES = {"delivery": ["csrc/delivery.c"], "client": ["csrc/delivery.c"],
             "producer": ["csrc/delivery.c", "csrc/produce.c"]}


def ext(name):
    return Extension(f"kafkapp.{name}", [f"kafkapp/{name}.pyx", *C_SOURCES.get(name, ())], include_dirs=["csrc"],
                     extra_compile_args=["-O2", "-Wall", "-Wextra", *CFLAGS], extra_link_args=LIBS)


MODULES = [name for name in ("errors", "timeouts", "views", "records", "client", "producer", "testing")
           if os.path.exists(f"kafkapp/{name}.pyx")]

setup(ext_modules=cythonize([ext(name) for name in MODULES], build_dir="build", compiler_directives=DIRECTIVES))
