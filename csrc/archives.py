"""What was fetched: whether it is what was pinned, and what is taken out of it.

Used by the builds of librdkafka and of what it stands on. Knows no source and no network.
"""
import gzip
import hashlib
import lzma
import tarfile
import zlib

from build_tools import BuildError, Unreachable


def matches(file, source):
    return file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == source.sha256


def checked(file, source):
    """The file, when it is what the table says; else it is removed and nothing goes on."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found == source.sha256:
        return file
    why = incomplete(file)
    file.unlink()
    if why:
        raise Unreachable(f"{source.name} {why}")
    raise BuildError(f"{source.name} is not what was pinned, so it was not used:\n"
                     f"  expected sha256 {source.sha256}\n  found           {found}")


def incomplete(file):
    """Why a file cannot be the archive that was asked for, where nobody needs to have tampered with it."""
    with open(file, "rb") as opened:
        begin = opened.read(6)
    unpack = {b"\x1f\x8b": gzip.open, b"\xfd7": lzma.open}.get(begin[:2])
    if unpack is None:
        return "gave something else in its place, as a proxy does, or nothing"
    try:
        with unpack(file) as inside:
            while inside.read(1 << 20):
                pass
    except EOFError:
        return "broke off: its end is missing"
    except (OSError, lzma.LZMAError, zlib.error):
        pass
    return ""


def extract(source, file, to, only=("",)):
    """The source's own folder within the archive, without its name; of that what begins so."""
    options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(file) as tar:
        for member in tar:
            inside = member.name.removeprefix(source.folder + "/")
            if inside != member.name and inside.startswith(only):
                member.name = inside
                tar.extract(member, to, **options)
