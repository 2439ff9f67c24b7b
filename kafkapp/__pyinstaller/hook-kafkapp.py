"""PyInstaller hook: what the compiled modules import, which PyInstaller cannot see.

They are all in kafkapp._modules; it finds that one itself, and librdkafka as the library that it is linked with.
"""
from PyInstaller.utils.hooks import collect_submodules, copy_metadata

# Left out: the command line and the benchmarks, which a program that uses them names, and the extras in Python, which
# would bring their packages along: where a program imports them PyInstaller sees it.
PROGRAMS = ("kafkapp.__main__", "kafkapp.__pyinstaller", "kafkapp.bench", "kafkapp.cli")
EXTRAS = ("kafkapp.opentelemetry", "kafkapp.prometheus")


def is_library(name: str) -> bool:
    return not any(name == left_out or name.startswith(left_out + ".") for left_out in PROGRAMS + EXTRAS)


hiddenimports = collect_submodules("kafkapp", filter=is_library)
# Modules of the standard library that perhaps only compiled modules import.
hiddenimports += ["_asyncio", "_thread", "_weakref", "_weakrefset", "asyncio", "atexit", "collections",
                  "collections.abc", "concurrent.futures", "copy", "enum", "functools", "logging", "operator",
                  "os", "re", "sys", "threading", "time", "warnings"]
datas = copy_metadata("kafkapp")    # kafkapp.__version__
