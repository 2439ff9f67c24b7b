"""The flags that harden what we compile: librdkafka, what it stands on, the extension modules.

Read by setup.py and by the builds in this folder; tests/wheel reads their effect off the built wheel.
"""
import platform
import sys


def compile_flags():
    """Checked library calls, stack canaries and probes, and jumps only to where jumps may go."""
    flags = ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3", "-fstack-protector-strong"]
    if sys.platform.startswith("linux"):
        flags += ["-fstack-clash-protection"]
        branches = {"x86_64": ["-fcf-protection"], "aarch64": ["-mbranch-protection=standard"]}
        flags += branches.get(platform.machine(), [])
    return flags


def link_flags():
    """All symbols bound at the start and read-only from then on; no stack that can be run."""
    return ["-Wl,-z,relro,-z,now,-z,noexecstack"] if sys.platform.startswith("linux") else []
