"""Benchmarks: a program, not timed tests. Both sides of every ratio are measured in one run.

`command` is the click command that the command line adds as `kafkapp bench`.
"""
from kafkapp.bench.program import command

__all__ = ["command"]
