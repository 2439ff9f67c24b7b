"""Redaction: hides the secrets among the properties, and passwords in addresses, in what librdkafka says."""
from __future__ import annotations

from collections.abc import Mapping

from kafkapp.config.names import is_sensitive

TYPE_CHECKING = False       # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

MASK = "*"
MIN_PIECE = 8               # characters of a secret in a row that are hidden at the end of a text, where it may be cut
MIN_NO_WORD = 16            # characters without a blank that are no word: hidden wherever they stand
QUOTES = "\"'`"
CERTIFICATES = ("ssl.ca.pem", "https.ca.pem", "ssl.certificate.pem")
BEFORE_VALUE = QUOTES + "(=[{<,;"
BEFORE_PIECE = BEFORE_VALUE + ":"
AFTER_VALUE = QUOTES + ")]}>,;"


def redact(text: str, properties: Mapping[str, Any]) -> str:
    """The text without the sensitive values among the properties, nor pieces of them, nor passwords in addresses.

    librdkafka puts values that it refuses into its error texts: whole, what follows the bad place, or what fits.
    Nothing else is hidden: with a user named kafka, the host kafka.example.com stays readable.

    Args:
        text: what librdkafka says.
        properties: a `Properties`, or what `snapshot` gave.
    """
    places = address_places(text)
    longer = []
    for name, secret in properties.items():
        if not isinstance(secret, str) or not secret or not is_sensitive(name):
            continue
        for part in hidden_parts(name, secret):
            places += whole_places(part, text)
            if len(part) > MIN_PIECE:
                longer.append(without_labels(part))
    if longer:
        for start, end in possible_pieces(text, max(map(len, longer))):
            piece = text[start:end]
            if is_word(piece.strip()) or piece in properties:
                continue
            if any(is_part(piece, secret) for secret in longer):
                places.append((start, end))
    return masked(text, places)


def secrets(properties: Mapping[str, Any]) -> dict[str, str]:
    """Those of the properties that have something to hide, for `redact` of each line of a log.

    A bundle of all authorities, which takes a while to look through, is not among them.
    """
    return {name: value for name, value in properties.items()
            if isinstance(value, str) and is_sensitive(name) and hidden_parts(name, value)}


def hidden_parts(name: str, secret: str) -> list[str]:
    """What of a sensitive value must not be shown: of certificates the private keys that stand beside them.

    Certificates are public, and full of words that error messages have too.
    """
    if name not in CERTIFICATES or "-----BEGIN CERTIFICATE" not in secret:
        return [secret]
    parts = secret.split("-----")
    return [parts[place + 1] for place, label in enumerate(parts[:-1])
            if label.startswith("BEGIN ") and label.endswith("PRIVATE KEY")]


def without_labels(secret: str) -> str:
    """A secret without what every PEM text has: error messages have `PRIVATE KEY` and `CERTIFICATE` too."""
    parts = secret.split("-----")
    return "-----".join(part for part in parts if not part.startswith(("BEGIN ", "END "))) if len(parts) > 2 else secret


def masked(text: str, places: list[tuple[int, int]]) -> str:
    """The text with one mask for all adjacent hidden places."""
    if not places:
        return text
    kept: list[str] = []
    last = 0
    for start, end in sorted(places):
        if start > last or not kept:
            kept += [text[last:start], MASK]
        last = max(last, end)
    return "".join(kept) + text[last:]


def whole_places(secret: str, text: str) -> list[tuple[int, int]]:
    """Where the text shows a secret, in any form, or a value that is part of it."""
    places = []
    forms = {secret}
    if len(secret) <= len(text) and ("%" in text or "\\" in text):
        forms |= {"".join(c if c.isascii() and (c.isalnum() or c in "-._~" + keep) else quoted(c) for c in secret)
                  for keep in ("", "/")}
        forms.add(repr(secret)[1:-1])
    if "=" in secret and len(secret) < 4096:        # name=value pairs, of which one may be shown
        for pair in secret.replace(",", " ").replace(";", " ").split():
            value = pair.partition("=")[2].strip(QUOTES)
            if len(value) >= MIN_PIECE and not is_word(value):
                forms.add(value)
    for form in forms:
        places += form_places(form, text)
    return places


def quoted(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def is_word(secret: str) -> bool:
    """Whether it may be part of an innocent text: then it is hidden only where it stands by itself."""
    return len(secret) < MIN_PIECE or (len(secret) < MIN_NO_WORD and secret.isalpha())


def form_places(form: str, text: str) -> list[tuple[int, int]]:
    places = []
    word, size = is_word(form), len(form)
    start = text.find(form)
    while start >= 0:
        if not word or is_value(text, start, start + size):
            places.append((start, start + size))
        start = text.find(form, start + 1)
    return places


def is_value(text: str, start: int, end: int) -> bool:
    """Whether a part of the text stands by itself: not in a host's name, a path, a longer word."""
    before, after, beyond = text[start - 1:start], text[end:end + 1], text[end + 1:end + 2]
    if before and not before.isspace() and before not in BEFORE_VALUE:
        return False
    if after in (".", ":", "!", "?"):
        return not beyond or beyond.isspace()
    return not after or after.isspace() or after in AFTER_VALUE


def is_part(piece: str, secret: str) -> bool:
    """Whether a secret contains the piece. Both may be long: rare characters are compared first."""
    for character in " :,\"":
        if character in piece and character not in secret:
            return False
    return piece in secret


def possible_pieces(text: str, longest: int) -> list[tuple[int, int]]:
    """Where pieces of a secret may stand: longer words, and values at the text's end, where they may have been cut."""
    places = []
    end = len(text)
    for start in range(max(0, end - longest), end - MIN_PIECE + 1):
        if start == 0 or text[start - 1] in BEFORE_PIECE or text[start - 2:start] == ": ":
            places.append((start, end))
    start = 0
    for word in text.split():
        if len(word) < MIN_NO_WORD:
            continue
        start = text.index(word, start)
        for part in word.split("\\n"):
            bare = part.strip(QUOTES + "()[]{}<>,;:")
            if len(bare) >= MIN_NO_WORD:
                place = start + word.index(bare)
                places.append((place, place + len(bare)))
        start += len(word)
    return places


def address_places(text: str) -> list[tuple[int, int]]:
    """Where addresses have a user and a password: scheme://user:password@host."""
    places = []
    start = text.find("://")
    while start >= 0:
        start += 3
        rest = text[start:].split(maxsplit=1)[0] if text[start:start + 1].strip() else ""
        user, at, _host = rest.partition("/")[0].rpartition("@")
        if at and ":" in user:
            places.append((start, start + len(user)))
        start = text.find("://", start)
    return places
