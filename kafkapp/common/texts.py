"""Checks of a text before C sees it, and escapes for a text that a message shows."""
from __future__ import annotations


def check_text(what: str, text: object) -> str:
    """A str that C and UTF-8 can represent, as an exact str. No message shows it: it may be a secret.

    Args:
        what: its name in the exceptions.
        text: the text.
    Raises:
        TypeError: it is not a str.
        ValueError: it has a NUL or a lone surrogate.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    text = str.__str__(text)        # a subclass may override any method
    if "\0" in text:
        raise ValueError(f"{what} must not contain a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} must not contain a lone surrogate: UTF-8 has no form for it") from None
    return text


def one_line(text: str) -> str:
    """The text with escapes for unprintable characters: it must not look like several lines, nor move the cursor."""
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text])
