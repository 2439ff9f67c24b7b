"""Extras: packages that only some modules need, and an error that says how to install them."""
from importlib import import_module


def import_extra(module: str, *, needed_by: str, package: str, extra: str) -> None:
    """Import a module of an extra, or raise a ModuleNotFoundError that names the extra."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise       # the package is there, and what it needs is not
        raise ModuleNotFoundError(f"{needed_by} needs {package}: pip install 'kafkapp[{extra}]'",
                                  name=error.name) from None
