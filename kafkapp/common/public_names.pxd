# Public names: an extension type says the package that exports it, not the module that it stands in, which may move.
# A Python class says so by __module__ in its body.

from cpython.object cimport PyTypeObject


# For a static type CPython derives __module__ from this. `name`: a literal, which lives as long as the type.
cdef inline void export_as(type cls, const char *name) noexcept:
    (<PyTypeObject *>cls).tp_name = name
