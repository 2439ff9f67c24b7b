"""Makefile.config, which librdkafka's configure writes: {name: value}, as make would have them.

Imports nothing of ours.
"""
import re

ASSIGNMENT = re.compile(r"[ \t]*(\w+)[ \t]*(\+|:|\?)?=[ \t]*(.*?)[ \t]*")
REFERENCE = re.compile(r"\$(?:\((\w+)\)|\{(\w+)\}|(\$))")


def parse(text):
    """Parses one assignment a line; a value may be empty, continued by a backslash, or appended by +=."""
    values = {}
    for line in re.sub(r"[ \t]*\\\r?\n[ \t]*", " ", text).splitlines():
        if line.lstrip().startswith("#") or not (match := ASSIGNMENT.fullmatch(line)):
            continue
        name, how, value = match.groups()
        if how == "+":
            value = f"{values.get(name, '')} {value}".strip()
        if how != "?" or name not in values:
            values[name] = value
    return {name: expand(value, values, (name,)) for name, value in values.items()}


def expand(value, values, within):
    """A value with its references expanded; a reference to itself or to an unknown variable is empty."""
    def named(match):
        name = match[1] or match[2]
        if match[3]:
            return "$"
        return "" if name in within else expand(values.get(name, ""), values, (*within, name))
    return REFERENCE.sub(named, value)
