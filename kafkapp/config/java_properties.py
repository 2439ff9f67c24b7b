"""Parser of `.properties` files, as Java reads them (java.util.Properties.load) and Kafka's tools take them.

Comments begin with # or !; name and value are separated by =, : or blanks; a line that ends in a backslash continues in
the next; a backslash and uXXXX, t, n, r or f are a character, any other backslash is dropped. As in Kafka, blanks
around a value are dropped. Unlike Java, the file is UTF-8, and a line with a name only is refused. No message shows a
line: it may be a secret.
"""
import re
from collections.abc import Iterable, Iterator

BLANKS = " \t\f"
ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
TRIMMED = "".join(map(chr, range(33)))      # String.trim()'s
NAME = re.compile(r"((?:\\.|[^\\=: \t\f])*)([ \t\f]*(?:[=:][ \t\f]*)?)(.*)", re.DOTALL)


class Malformed(ValueError):
    """A malformed line; the message has its number, and what is wrong with it."""


def load(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The names and values of a file's lines, as universal newlines split them.

    Raises:
        Malformed: a line is not `key=value`.
    """
    for number, line in logical(lines):
        match = NAME.fullmatch(line)
        if match is None or not match[1] or not match[2]:
            raise Malformed(f"{number}: expected key=value")
        yield converted(number, match[1]), converted(number, match[3]).strip(TRIMMED)


def logical(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The logical lines: continued ones joined, blanks and comments left out, each with its first line's number."""
    begun, parts = 0, ""
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\n").lstrip(BLANKS)
        if not parts:
            begun = number
            if not line or line[0] in "#!":
                continue
        parts += line
        if (len(line) - len(line.rstrip("\\"))) % 2:
            parts = parts[:-1]
        else:
            yield begun, parts
            parts = ""
    if parts:
        yield begun, parts


def converted(number: int, text: str) -> str:
    """The text with its escapes resolved."""
    def character(match: re.Match[str]) -> str:
        code, letter = match.groups()
        if code:
            return chr(int(code, 16))
        if letter == "u":
            raise Malformed(f"{number}: expected four hexadecimal digits after \\u")
        return LETTERS.get(letter, letter)

    text = ESCAPE.sub(character, text)
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")      # a pair of escapes is one character
    except UnicodeDecodeError:
        raise Malformed(f"{number}: half of a pair of \\u escapes") from None
