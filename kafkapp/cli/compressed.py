"""Compressed input: files whose names end with .gz, .bz2, .xz or .zst are decompressed while they are read."""
from collections.abc import Callable, Iterator
from importlib import import_module
from io import RawIOBase
from typing import Any

from kafkapp.cli.formats import BadInput

READ_BYTES = 1 << 20            # of decompressed data at once
ZSTD_BYTES = 1 << 10            # of compressed data at once: 4 bytes may be 128 KiB of zeros

Read = Callable[[], bytes]
# Ending: the module, and what to do where Python has none.
MODULES = {".gz": ("gzip", ""), ".bz2": ("bz2", ""), ".xz": ("lzma", ""),
           ".zst": ("compression.zstd", "CPython 3.14 has it; for an older one: pip install 'kafkapp[zstd]'")}


def ending(path: str) -> str | None:
    """The ending that says how a file is compressed; None: it is not."""
    return next((end for end in MODULES if path.endswith(end)), None)


def check_module(path: str) -> None:
    """Check that there is a module that decompresses the file.

    Raises:
        BadInput: there is none; says what to install.
    """
    end = ending(path)
    if end is not None:
        opener(end)


def opener(end: str) -> Callable[[RawIOBase], Read]:
    """Makes of a compressed file a function that returns its next data, b"" at its end."""
    name, cure = MODULES[end]
    try:
        module = import_module(name)
    except ImportError:
        if end == ".zst":
            try:
                return zstandard_reader(import_module("zstandard"))
            except ImportError:
                pass
        raise BadInput(f"{end} needs Python's module {name}, which is not here{': ' * bool(cure)}{cure}") from None

    def of(file: RawIOBase) -> Read:
        opened = module.open(file, "rb")
        return lambda: bytes(opened.read1(READ_BYTES))
    return of


def zstandard_reader(module: Any) -> Callable[[RawIOBase], Read]:
    """By the package zstandard. Its own stream_reader ends in silence where a file has been cut off."""
    def pieces(file: RawIOBase) -> Iterator[bytes]:
        frame = None
        while block := file.read(ZSTD_BYTES):  # each a call of the system, and cheap beside what it expands to
            while block:
                frame = frame or module.ZstdDecompressor().decompressobj()
                if data := frame.decompress(block):
                    yield data
                block = b""
                if frame.eof:
                    block, frame = frame.unused_data, None
        if frame is not None:
            raise EOFError("it ends in the middle of a frame")

    def of(file: RawIOBase) -> Read:
        iterator = pieces(file)
        return lambda: next(iterator, b"")
    return of


def reading(read: Read) -> Read:
    """The same, whose errors are BadInput, and OSError as of any file."""
    def checked() -> bytes:
        try:
            return read()
        except OSError as failure:
            if failure.errno is not None:
                raise
            raise BadInput(f"cannot be decompressed: {failure}") from None
        except Exception as failure:    # each module has errors of its own
            raise BadInput(f"cannot be decompressed: {failure}") from None
    return checked
