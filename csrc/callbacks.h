/* Calls of the user's callbacks, and where their exceptions go. */
#ifndef KAFKAPP_CALLBACKS_H
#define KAFKAPP_CALLBACKS_H

#include <Python.h>

/* Move the current exception to the list `raised`; for None, or without memory, to sys.unraisablehook. */
static inline void kp_keep_exception(PyObject *callback, PyObject *raised) {
    PyObject *exc;
    if (raised == Py_None) {
        PyErr_WriteUnraisable(callback);
        return;
    }
#if PY_VERSION_HEX >= 0x030C0000
    exc = PyErr_GetRaisedException();
#else
    PyObject *type, *traceback;
    PyErr_Fetch(&type, &exc, &traceback);
    PyErr_NormalizeException(&type, &exc, &traceback);
    if (traceback)
        PyException_SetTraceback(exc, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
#endif
    if (PyList_Append(raised, exc)) {
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        PyErr_WriteUnraisable(callback);
    }
    Py_DECREF(exc);
}

/* Pass an exception to sys.unraisablehook. Cython's own way with an exception that cannot be raised prints it first,
 * which ends the process for a SystemExit. */
static inline void kp_report_exception(PyObject *exc) {
    PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    PyErr_WriteUnraisable(NULL);
}

/* A callback has returned its result, or NULL: it has raised. */
static inline void kp_called(PyObject *callback, PyObject *result, PyObject *raised) {
    if (!result)
        kp_keep_exception(callback, raised);
    else
        Py_DECREF(result);
}

/* Call a user's callback. No tuple is created; the array has room for a bound method's self. */
static inline void kp_call(PyObject *callback, PyObject *first, PyObject *second, PyObject *third, size_t count,
                           PyObject *raised) {
    PyObject *args[4] = {NULL, first, second, third};
    PyObject *result = PyObject_Vectorcall(callback, args + 1, count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    kp_called(callback, result, raised);
}

/* The same for a delivery report, the most frequent of them: the function of a method is called without its detour. */
static inline void kp_call_report(PyObject *callback, PyObject *metadata, PyObject *error, PyObject *raised) {
    PyObject *args[4] = {NULL, NULL, metadata, error}, *function = callback, *result;
    size_t count = 2;
    if (PyMethod_Check(callback)) {
        function = PyMethod_GET_FUNCTION(callback);
        args[1] = PyMethod_GET_SELF(callback);
        count = 3;
    }
    if (PyFunction_Check(function))
        result = PyVectorcall_Function(function)(function, args + 4 - count, count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    else
        result = PyObject_Vectorcall(callback, args + 2, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    kp_called(callback, result, raised);
}

#endif
