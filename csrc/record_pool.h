/* Record pool: the memory of freed records, for new ones. What most programs put into a record is written once, without
 * the checks that it does not need. Where Python has a GIL, which guards the pool; only for the exact type. */
#ifndef KAFKAPP_RECORD_POOL_H
#define KAFKAPP_RECORD_POOL_H

#include <string.h>

#include "plain_arguments.h"

/* A ProducerRecord's fields as Cython lays them out; record.pyx looks whether it does when it is imported. */
typedef struct {
    PyObject_HEAD
    PyObject *topic;
    PyObject *key;
    PyObject *value;
    PyObject *id;
    PyObject *headers;
    int32_t partition;
    int64_t timestamp;
} kp_record_fields;

#define KP_POOL_RECORDS 64

static struct {
    PyTypeObject *type;
    destructor dealloc; /* Cython's own */
    int count;
    PyObject *records[KP_POOL_RECORDS];
} kp_record_pool;

static void kp_record_dealloc(PyObject *record) {
    kp_record_fields *fields = (kp_record_fields *)record;
    PyObject *topic = fields->topic, *key = fields->key, *value = fields->value;
    if (fields->id != Py_None || fields->headers != Py_None || !Py_IS_TYPE(record, kp_record_pool.type) ||
        kp_record_pool.count == KP_POOL_RECORDS) {
        /* An id may be a record that has an id, and so on: the stack would overflow. */
        PyObject_GC_UnTrack(record);
        Py_TRASHCAN_BEGIN(record, kp_record_dealloc)
        kp_record_pool.dealloc(record);
        Py_TRASHCAN_END
        return;
    }
    PyObject_GC_UnTrack(record);
    kp_record_pool.records[kp_record_pool.count++] = record;
    Py_DECREF(Py_None); /* the id's and the headers' */
    Py_DECREF(Py_None);
    Py_DECREF(topic);
    Py_DECREF(key);
    Py_DECREF(value);
}

/* Whether the fields are laid out as above, by a record that has another one in each but the headers. */
static inline int kp_record_layout_holds(const PyObject *record) {
    const kp_record_fields *fields = (const kp_record_fields *)record;
    return Py_TYPE(record)->tp_basicsize == (Py_ssize_t)sizeof(*fields) && PyUnicode_CheckExact(fields->topic) &&
           PyBytes_CheckExact(fields->key) && *PyBytes_AS_STRING(fields->key) == 'k' &&
           PyBytes_CheckExact(fields->value) && *PyBytes_AS_STRING(fields->value) == 'v' &&
           PyLong_CheckExact(fields->id) && fields->headers == Py_None && fields->partition == 1 &&
           fields->timestamp == 3;
}

/* Have records of this type freed into the pool. Returns 0 where `record`, one with a topic, partition 1, the key b"k",
 * the value b"v", an int for an id and timestamp 3, shows another layout. */
static inline int kp_record_pool_start(PyObject *type, PyObject *record) {
    if (!kp_record_layout_holds(record))
        return 0;
    kp_record_pool.type = (PyTypeObject *)type;
    kp_record_pool.dealloc = kp_record_pool.type->tp_dealloc;
    kp_record_pool.type->tp_dealloc = kp_record_dealloc;
    return 1;
}

/* Whether a topic's name needs no other check: an exact str of ASCII without NUL. */
static inline int kp_plain_name(PyObject *topic) {
    return PyUnicode_CheckExact(topic) && PyUnicode_IS_COMPACT_ASCII(topic) &&
           !memchr(PyUnicode_DATA(topic), 0, (size_t)PyUnicode_GET_LENGTH(topic));
}

/* A record of `topic`, which was checked, and of arguments that need no check. NULL without an exception: the pool is
 * empty, or some argument is to be checked. */
static inline PyObject *kp_record_from_pool(PyObject *topic, PyObject *partition, PyObject *key, PyObject *value,
                                            PyObject *id) {
    int32_t number;
    PyObject *record;
    kp_record_fields *fields;
    if (!kp_record_pool.count || !kp_plain_partition(partition, &number) || !kp_plain_data(key) ||
        !kp_plain_data(value))
        return NULL;
    record = kp_record_pool.records[--kp_record_pool.count];
    fields = (kp_record_fields *)record;
    _Py_NewReference(record);
    fields->topic = Py_NewRef(topic);
    fields->key = Py_NewRef(key);
    fields->value = Py_NewRef(value);
    fields->id = Py_NewRef(id);
    fields->headers = Py_NewRef(Py_None);
    fields->partition = number;
    fields->timestamp = 0;
    PyObject_GC_Track(record);
    return record;
}

#endif
