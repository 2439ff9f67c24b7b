"""For PyInstaller, which finds it by the entry point `pyinstaller40`: where the hook of this package is.

Layer L0: imported by PyInstaller alone.
"""
import os


def get_hook_dirs() -> list[str]:
    """Give the folder of the hooks."""
    return [os.path.dirname(__file__)]
