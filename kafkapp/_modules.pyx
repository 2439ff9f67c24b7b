"""The shared object that all compiled modules are in, and the finder that imports them from it.

Python would look for `kafkapp.client.handle` in a file of that name, and call `PyInit_handle` there. The finder names
the file that this module itself is in: one file to load, in which the C of csrc/ is once.
"""
import os
import sys
# What importlib.machinery has them from: every Python starts with these two, and importlib is slow to import.
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader

cimport cython

cdef extern from *:
    const char *KAFKAPP_MODULES     # setup.py defines it: the names of all that it links into the shared object

NAMES = frozenset(KAFKAPP_MODULES.decode().split())
cdef str FILE = os.path.basename(__file__)


@cython.final
cdef class Finder:
    """What stands in sys.meta_path."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """The spec of a compiled module, whose package has this __path__; None for any other.

        It goes by the path, not by where this module itself is: of two kafkapps in a process each gets its own file.
        """
        if name not in NAMES or not path:
            return None
        file = os.path.join(os.path.dirname(path[0]), FILE)
        spec = ModuleSpec(name, ExtensionFileLoader(name, file), origin=file)
        spec.has_location = True
        return spec


def install():
    """Have the finder asked first. Again at each import of the package: a test may have put sys.meta_path back."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
