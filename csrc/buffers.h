/* Buffer acquire and release, for buffers that another thread releases. CPython 3.13 without the GIL counts the exports
 * of a bytearray and of a memoryview without a lock: here a critical section of the exporter is around both calls. */
#ifndef KAFKAPP_BUFFERS_H
#define KAFKAPP_BUFFERS_H

#include <Python.h>

#ifdef Py_GIL_DISABLED
static inline int kp_get_buffer(PyObject *exporter, Py_buffer *view, int flags) {
    int err;
    Py_BEGIN_CRITICAL_SECTION(exporter);
    err = PyObject_GetBuffer(exporter, view, flags);
    Py_END_CRITICAL_SECTION();
    return err;
}

static inline void kp_release_buffer(Py_buffer *view) {
    PyObject *exporter = view->obj;
    if (!exporter)
        return;
    Py_INCREF(exporter); /* the view's reference goes before the section ends */
    Py_BEGIN_CRITICAL_SECTION(exporter);
    PyBuffer_Release(view);
    Py_END_CRITICAL_SECTION();
    Py_DECREF(exporter);
}
#else
#define kp_get_buffer PyObject_GetBuffer
#define kp_release_buffer PyBuffer_Release
#endif

#endif
