# Declarations of csrc/atomics.h: counts and flags that several threads touch, with and without a GIL.

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t


cdef extern from "atomics.h" nogil:
    const bint KP_GIL
    void KP_ADD(int64_t place, int64_t n)
    int64_t KP_READ(int64_t place)
    void KP_SET(int64_t place, int64_t value)
    unsigned long KP_THREAD "KP_READ"(unsigned long place)
    PyObject *KP_OBJECT "KP_READ"(PyObject *place)
    void KP_SET_OBJECT "KP_SET"(PyObject *place, PyObject *value)
    int KP_TAKE_FLAG "KP_TAKE"(int place)

    ctypedef struct kp_section:
        pass
    void kp_section_begin(kp_section *section, PyObject *thing)
    void kp_section_end(kp_section *section)
    bint kp_claim(unsigned long *place, unsigned long me)
