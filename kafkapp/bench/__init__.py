"""Benchmarks: a program, not timed tests. Both sides of every ratio are measured in one run.

`command` is the click command that the command line adds as `kafkapp bench`.
"""
from kafkapp import _modules

_modules.install()     # again: sys.meta_path may have been put back since kafkapp was imported

from kafkapp.bench.program import command

__all__ = ["command"]
