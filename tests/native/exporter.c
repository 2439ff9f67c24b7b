/* A Python type whose objects run Python code while their buffer is acquired and released, as PEP 688 lets classes do
 * from Python 3.12 on. For test_misbehaving_objects.py on older ones; knows nothing of kafkapp. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static int get(PyObject *self, Py_buffer *view, int flags) {
    PyObject *answer = PyObject_CallMethod(self, "__buffer__", "i", flags);
    const Py_buffer *inner;
    int failed;
    view->obj = NULL;
    if (!answer)
        return -1;
    if (!PyMemoryView_Check(answer)) {
        Py_DECREF(answer);
        PyErr_SetString(PyExc_TypeError, "__buffer__ returned no memoryview");
        return -1;
    }
    inner = PyMemoryView_GET_BUFFER(answer);
    failed = PyBuffer_FillInfo(view, self, inner->buf, inner->len, inner->readonly, flags);
    view->internal = answer;
    if (failed)
        Py_DECREF(answer);
    return failed;
}

static void give_back(PyObject *self, Py_buffer *view) {
    PyObject *type, *value, *traceback, *result;
    PyErr_Fetch(&type, &value, &traceback);
    if (PyObject_HasAttrString(self, "__release_buffer__")) {
        result = PyObject_CallMethod(self, "__release_buffer__", "O", (PyObject *)view->internal);
        if (result)
            Py_DECREF(result);
        else
            PyErr_WriteUnraisable(self);
    }
    PyErr_Restore(type, value, traceback);
    Py_XDECREF((PyObject *)view->internal);
}

static PyBufferProcs procs = {get, give_back};
static PyTypeObject exporter = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "exporter.Exporter",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_as_buffer = &procs,
    .tp_new = PyType_GenericNew,
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "exporter", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_exporter(void);
PyMODINIT_FUNC PyInit_exporter(void) {
    PyObject *made = PyModule_Create(&module);
    if (!made || PyModule_AddType(made, &exporter) < 0)
        return NULL;
    return made;
}
