"""PyInstaller hook: what the compiled modules import, which PyInstaller cannot see.

They are all in kafkapp._modules; it finds that one itself, and librdkafka as the library that it is linked with.
"""
from PyInstaller.utils.hooks import collect_submodules, copy_metadata

# The command line and the benchmarks are left out: a program that uses them names them.
PROGRAMS = ("kafkapp.__main__", "kafkapp.__pyinstaller", "kafkapp.bench", "kafkapp.cli")


def is_library(name: str) -> bool:
    return not any(name == program or name.startswith(program + ".") for program in PROGRAMS)


hiddenimports = collect_submodules("kafkapp", filter=is_library)
# Modules of the standard library that perhaps only compiled modules import.
hiddenimports += ["_asyncio", "_thread", "_weakref", "_weakrefset", "asyncio", "atexit", "collections",
                  "collections.abc", "concurrent.futures", "copy", "enum", "functools", "logging", "operator",
                  "os", "re", "sys", "threading", "time", "warnings"]
datas = copy_metadata("kafkapp")    # kafkapp.__version__
