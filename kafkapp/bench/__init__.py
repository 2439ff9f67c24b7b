"""Benchmarks as a program, not as timed tests: both sides of every ratio, measured in one run. Layer L5.

`command` is the click command that the command line adds as `kafkapp bench`.
"""
from kafkapp.bench.program import command

__all__ = ["command"]
