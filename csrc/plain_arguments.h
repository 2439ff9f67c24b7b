/* Plain arguments: reads those that need no check and run no code, which are most. Each function says whether it could. */
#ifndef KAFKAPP_PLAIN_ARGUMENTS_H
#define KAFKAPP_PLAIN_ARGUMENTS_H

#include <Python.h>

/* What a user gives of a record: borrowed. The partition is a number, and -1 for none. */
typedef struct kp_fields {
    PyObject *topic;
    PyObject *value;
    PyObject *key;
    PyObject *id;
    int32_t partition;
} kp_fields;

/* The memory of a key or value: of bytes, of a str that is its own UTF-8 form, none of None. */
static inline int kp_plain_memory(PyObject *data, const void **memory, size_t *size) {
    if (PyBytes_CheckExact(data)) {
        *memory = PyBytes_AS_STRING(data);
        *size = (size_t)PyBytes_GET_SIZE(data);
    } else if (data == Py_None) {
        *memory = NULL;
        *size = 0;
    } else if (PyUnicode_CheckExact(data) && PyUnicode_IS_COMPACT_ASCII(data)) {
        *memory = PyUnicode_DATA(data);
        *size = (size_t)PyUnicode_GET_LENGTH(data);
    } else {
        return 0;
    }
    return 1;
}

/* Whether a key or value has such memory. */
static inline int kp_plain_data(PyObject *data) {
    return PyBytes_CheckExact(data) || data == Py_None || (PyUnicode_CheckExact(data) && PyUnicode_IS_COMPACT_ASCII(data));
}

/* The number of a partition; of None RD_KAFKA_PARTITION_UA, which is -1. */
static inline int kp_plain_partition(PyObject *number, int32_t *partition) {
    if (number == Py_None) {
        *partition = -1;
        return 1;
    }
    if (!PyLong_CheckExact(number))
        return 0;
#if PY_VERSION_HEX >= 0x030C0000
    if (!PyUnstable_Long_IsCompact((PyLongObject *)number) || PyUnstable_Long_CompactValue((PyLongObject *)number) < 0)
        return 0;
    *partition = (int32_t)PyUnstable_Long_CompactValue((PyLongObject *)number);
#else
    if (Py_SIZE(number) != 0 && Py_SIZE(number) != 1)
        return 0;
    *partition = Py_SIZE(number) ? (int32_t)((PyLongObject *)number)->ob_digit[0] : 0;
#endif
    return 1;
}

/* Whether `thing` can be called, as callable() says. */
static inline int kp_callable(PyObject *thing) {
    return Py_TYPE(thing)->tp_call != NULL;
}

#endif
