"""kafkapp's patches of the librdkafka that it builds itself: patches/*.patch, in the order of their names.

Used when the pinned release is unpacked, by the build's key and by the SBOM. A patch is a unified diff below a header:
a title, why, `Releases:` that have the fault, `Goes:` when it is no longer needed. Applied here, as a bare machine has
neither patch nor git, and exactly: no fuzz, no offset. A patch that does not fit ends the build.
"""
import dataclasses
import hashlib
import re
from pathlib import Path, PurePosixPath

from build_tools import BuildError

FOLDER = Path(__file__).with_name("patches")
STAMP = "kafkapp-patches.key"   # in a source tree: with which patches it was unpacked
HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@.*")
NO_END = b"\\ No newline at end of file"


@dataclasses.dataclass(frozen=True)
class Patch:
    name: str
    title: str
    header: str
    text: bytes     # all of it

    def error(self, why):
        return BuildError(f"{self.name} does not fit librdkafka's source: {why}")


def load(folder=None):
    """The patches of a folder; ours when none is named."""
    return tuple(read(file) for file in sorted(Path(folder or FOLDER).glob("*.patch")))


def read(file):
    text = file.read_bytes()
    header = re.split(rb"^--- ", text, maxsplit=1, flags=re.MULTILINE)[0].decode().strip()
    for field in ("Releases: ", "Goes: "):
        if f"\n{field}" not in header:
            raise BuildError(f"{file.name} has no line that begins with `{field}`")
    return Patch(file.name, header.splitlines()[0], header, text)


def key(patches):
    """A digest of the patches."""
    digest = hashlib.sha256()
    for patch in patches:
        digest.update(f"{patch.name}\0{len(patch.text)}\0".encode() + patch.text)
    return digest.hexdigest()


def apply(patches, tree):
    """Patch a fresh source tree, and leave a stamp in it. A patch is applied completely or not at all."""
    for patch in patches:
        for file, content in changes(patch, tree).items():
            if content is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
    (tree / STAMP).write_text(key(patches))


def applied(patches, tree):
    """Whether the tree exists and was unpacked with these patches."""
    try:
        return (tree / STAMP).read_text() == key(patches)
    except OSError:
        return False


def changes(patch, tree):
    """{file: its new content, None where it goes} of one patch."""
    lines = patch.text.split(b"\n")
    number = next((number for number, line in enumerate(lines) if line.startswith(b"--- ")), len(lines))
    changed = {}
    while number < len(lines):
        if not lines[number].startswith(b"--- "):
            if lines[number].startswith((b"@@ ", b"+", b"-", b" ", b"\\")):
                raise patch.error(f"line {number + 1} belongs to no hunk")
            number += 1     # what git and diff write between two files
            continue
        old, new = names_at(patch, lines, number)
        file = tree / (new or old)
        if file in changed:
            raise patch.error(f"{new or old} is named twice")
        before = content_of(patch, file, old)
        after, number = patched(patch, lines, number + 2, before, old or new)
        if new is None and after:
            raise patch.error(f"{old} is to be removed and has more than that")
        changed[file] = b"".join(after) if new else None
    if not changed:
        raise patch.error("there is no change in it")
    return changed


def names_at(patch, lines, number):
    """The file's name before and after, from the two lines that begin its changes; one of them may be None."""
    if number + 1 == len(lines) or not lines[number + 1].startswith(b"+++ "):
        raise patch.error(f"line {number + 2} does not name the changed file")
    old, new = (name_in(patch, line) for line in lines[number:number + 2])
    if not (old or new) or (old and new and old != new):
        raise patch.error(f"line {number + 1}: files are changed, made and removed, not renamed")
    return old, new


def name_in(patch, line):
    """The path of a `--- a/src/x.c` line below the tree; None for /dev/null."""
    name = line[4:].split(b"\t")[0].rstrip(b"\r").decode()
    if name == "/dev/null":
        return None
    path = PurePosixPath(*PurePosixPath(name).parts[1:])
    if name.startswith("/") or ".." in path.parts or not path.parts:
        raise patch.error(f"{name} is no file of its source")
    return path


def content_of(patch, file, old):
    """The lines of a file, with their ends."""
    if old is None:
        if file.exists():
            raise patch.error(f"{file.name} is to be made and is there")
        return []
    try:
        return re.findall(rb"[^\n]*\n|[^\n]+", file.read_bytes())
    except OSError as error:
        raise patch.error(f"{old} cannot be read: {error.strerror}") from error


def patched(patch, lines, number, before, name):
    """(the lines after all hunks that follow, the number of the line behind them)."""
    after, at = [], 0   # at: how many lines of before are done with
    while number < len(lines) and (hunk := HUNK.fullmatch(lines[number].rstrip(b"\r"))):
        start, old_size, new_start, new_size = (int(1 if group is None else group) for group in hunk.groups())
        old, new, number = body(patch, lines, number + 1, old_size, new_size)
        start -= old_size > 0   # counted from 1; where nothing is taken, the line behind which something comes
        if start < at:
            raise patch.error(f"{name}: the hunks are not in order")
        after += before[at:start]
        if len(after) + (new_size > 0) != new_start:
            raise patch.error(f"{name}: line {new_start} of the result would be line {len(after) + (new_size > 0)}")
        if before[start:start + old_size] != old:
            raise patch.error(f"{name}: line {start + 1} and what follows are not as the patch has them")
        after += new
        at = start + old_size
    return after + before[at:], number


def body(patch, lines, number, old_size, new_size):
    """The old and the new lines of one hunk."""
    old, new, last = [], [], ()
    while len(old) < old_size or len(new) < new_size or lines[number:number + 1] == [NO_END]:
        line = lines[number] if number + 1 < len(lines) else b""    # the last is what follows the last line's end
        sides = {b" ": (old, new), b"-": (old,), b"+": (new,)}.get(line[:1])
        if line == NO_END:
            for side in last:
                side[-1] = side[-1].removesuffix(b"\n")
        elif sides is None:
            raise patch.error(f"line {number + 1}: the hunk ends too early")
        else:
            for side in sides:
                side.append(line[1:] + b"\n")
            last = sides
        number += 1
    if (len(old), len(new)) != (old_size, new_size):
        raise patch.error(f"line {number}: the hunk has more lines than it says")
    return old, new, number
