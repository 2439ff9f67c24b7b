"""PyInstaller's entry point `pyinstaller40`: the folder of this package's hook. Imported by PyInstaller only."""
import os


def get_hook_dirs() -> list[str]:
    """Return the folder of the hooks."""
    return [os.path.dirname(__file__)]
