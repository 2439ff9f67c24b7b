"""What PyInstaller cannot find by reading imports: extension modules import others, and it does not look into them.

librdkafka, which stands beside the modules, it finds itself, as what they are linked with.
"""
from PyInstaller.utils.hooks import collect_submodules, copy_metadata

# The command and the benchmarks have their own imports, which a program that wants them names.
PROGRAMS = ("kafkapp.__main__", "kafkapp.__pyinstaller", "kafkapp.bench", "kafkapp.cli", "kafkapp.cli_produce",
            "kafkapp.lines", "kafkapp.outlets", "kafkapp.summary", "kafkapp.streams")


def is_library(name: str) -> bool:
    return not any(name == program or name.startswith(program + ".") for program in PROGRAMS)


hiddenimports = collect_submodules("kafkapp", filter=is_library)
# Of the standard library, what extension modules alone may import.
hiddenimports += ["_asyncio", "_thread", "_weakrefset", "asyncio", "atexit", "collections", "collections.abc", "copy",
                  "enum", "logging", "os", "re", "sys", "threading", "time", "warnings"]
datas = copy_metadata("kafkapp")    # kafkapp.__version__
