# csrc/buffers.h: the two calls as kafkapp makes them. Layer L1: knows nothing of Kafka.


cdef extern from "buffers.h":
    int PyObject_GetBuffer "kp_get_buffer"(object exporter, Py_buffer *view, int flags) except -1
    void PyBuffer_Release "kp_release_buffer"(Py_buffer *view)
