"""Downloaded archives: verifies them against the pinned checksums and extracts them.

Used by the builds of librdkafka and of its dependencies. Knows no source and no network.
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
    """The file, if it has the pinned checksum; otherwise it is removed and an error raised."""
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
    """Why a file is not the requested archive, if an interrupted or redirected download explains it; else empty."""
    with open(file, "rb") as opened:
        begin = opened.read(6)
    unpack = {b"\x1f\x8b": gzip.open, b"\xfd7": lzma.open}.get(begin[:2])
    if unpack is None:
        return "returned something else, as a proxy may, or nothing"
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
    """Extracts what lies below the source's own folder in the archive and begins with one of `only`."""
    options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(file) as tar:
        for member in tar:
            inside = member.name.removeprefix(source.folder + "/")
            if inside != member.name and inside.startswith(only):
                member.name = inside
                tar.extract(member, to, **options)
