"""Hardening flags for everything that we compile: librdkafka, its dependencies, the extension modules.

Read by setup.py and by the builds in this folder; tests/wheel reads their effect off the built wheel.
"""
import platform
import sys


def compile_flags():
    """Checked library calls, stack canaries and probes, control-flow protection."""
    flags = ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3", "-fstack-protector-strong"]
    if sys.platform.startswith("linux"):
        flags += ["-fstack-clash-protection"]
        branches = {"x86_64": ["-fcf-protection"], "aarch64": ["-mbranch-protection=standard"]}
        flags += branches.get(platform.machine(), [])
    return flags


def link_flags():
    """Symbols bound at load time and then read-only; no executable stack."""
    return ["-Wl,-z,relro,-z,now,-z,noexecstack"] if sys.platform.startswith("linux") else []
