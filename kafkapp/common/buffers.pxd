# PyObject_GetBuffer and PyBuffer_Release, thread-safe without the GIL too: see csrc/buffers.h. Knows nothing of Kafka.


cdef extern from "buffers.h":
    int kp_get_buffer(object exporter, Py_buffer *view, int flags) except -1
    void kp_release_buffer(Py_buffer *view)
