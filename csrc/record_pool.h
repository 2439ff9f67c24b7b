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
#define KP_POOL_NAMES 64

/* A record's arguments that may be given by position, in their order. */
enum { KP_TOPIC, KP_PARTITION, KP_KEY, KP_VALUE, KP_ID, KP_POSITIONAL };

static struct {
    PyTypeObject *type;
    destructor dealloc;    /* Cython's own */
    vectorcallfunc create; /* record.pyx's own */
    PyObject *names;       /* of the arguments: a tuple that begins with those above; borrowed */
    int count;
    PyObject *records[KP_POOL_RECORDS];
    PyObject *topics[KP_POOL_NAMES]; /* names that are checked, each in the slot of its address; owned */
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

static inline PyObject **kp_name_slot(PyObject *topic) {
    return &kp_record_pool.topics[(uintptr_t)topic / 64 % KP_POOL_NAMES];
}

static __attribute__((noinline)) int kp_check_name(PyObject *topic) {
    PyObject **slot = kp_name_slot(topic), *before = *slot;
    if (!PyUnicode_CheckExact(topic) || !PyUnicode_IS_COMPACT_ASCII(topic) ||
        memchr(PyUnicode_DATA(topic), 0, (size_t)PyUnicode_GET_LENGTH(topic)))
        return 0;
    *slot = Py_NewRef(topic);
    Py_XDECREF(before);
    return 1;
}

/* Whether a topic's name needs no other check: an exact str of ASCII without NUL. */
static inline int kp_plain_name(PyObject *topic) {
    return *kp_name_slot(topic) == topic || kp_check_name(topic);
}

/* A record of a plain name, and of arguments that need no check. NULL without an exception: the pool is empty, or an
 * argument is to be checked. */
static inline __attribute__((always_inline)) PyObject *kp_record_from_pool(PyObject *topic, PyObject *partition,
                                                                            PyObject *key, PyObject *value, PyObject *id) {
    int32_t number;
    PyObject *record;
    kp_record_fields *fields;
    if (!kp_record_pool.count || !kp_plain_partition(partition, &number) || !kp_plain_data(key) ||
        !kp_plain_data(value))
        return NULL;
    record = kp_record_pool.records[--kp_record_pool.count];
    fields = (kp_record_fields *)record;
    fields->topic = Py_NewRef(topic);
    fields->key = Py_NewRef(key);
    fields->value = Py_NewRef(value);
    fields->id = Py_NewRef(id);
    fields->headers = Py_NewRef(Py_None);
    fields->partition = number;
    fields->timestamp = 0;
    _Py_NewReference(record);
    PyObject_GC_Track(record);
    return record;
}

/* Put arguments by name behind those by position. Returns 0 for a name that is not the same object as one of those that
 * are left: of another argument, made at run time, unknown, or given by position too. */
static inline int kp_sort_arguments(PyObject **sorted, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0, i, j;
    for (i = 0; i < count; i++)
        sorted[i] = args[i];
    for (i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        for (j = count; j < KP_POSITIONAL && PyTuple_GET_ITEM(kp_record_pool.names, j) != name; j++)
            ;
        if (j == KP_POSITIONAL)
            return 0;
        sorted[j] = args[count + i];
    }
    return 1;
}

static __attribute__((noinline)) PyObject *kp_record_create_any(PyObject *type, PyObject *const *args, size_t nargsf,
                                                                PyObject *names) {
    PyObject *sorted[KP_POSITIONAL] = {NULL, Py_None, Py_None, Py_None, Py_None}, *record = NULL;
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (count <= KP_POSITIONAL && kp_sort_arguments(sorted, args, count, names) && sorted[KP_TOPIC] &&
        kp_plain_name(sorted[KP_TOPIC]))
        record = kp_record_from_pool(sorted[KP_TOPIC], sorted[KP_PARTITION], sorted[KP_KEY], sorted[KP_VALUE],
                                     sorted[KP_ID]);
    return record ? record : kp_record_pool.create(type, args, nargsf, names);
}

/* ProducerRecord(...): a record from the pool, or what record.pyx makes of the arguments. Most are given by position, with a
 * topic that was given before. */
static PyObject *kp_record_create(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names) {
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    PyObject *record;
    if (!names && 1 <= count && count <= KP_POSITIONAL && *kp_name_slot(args[KP_TOPIC]) == args[KP_TOPIC]) {
        record = kp_record_from_pool(args[KP_TOPIC], count > KP_PARTITION ? args[KP_PARTITION] : Py_None,
                                     count > KP_KEY ? args[KP_KEY] : Py_None,
                                     count > KP_VALUE ? args[KP_VALUE] : Py_None, count > KP_ID ? args[KP_ID] : Py_None);
        if (record)
            return record;
    }
    return kp_record_create_any(type, args, nargsf, names);
}

/* Have records of this type freed into the pool, and created from it; `names` are those of the arguments, interned, and
 * live as long. Returns 0 where `record`, one with a topic, partition 1, the key b"k", the value b"v", an int for an id and
 * timestamp 3, shows another layout. */
static inline int kp_record_pool_start(PyObject *type, PyObject *names, PyObject *record) {
    if (!kp_record_layout_holds(record))
        return 0;
    kp_record_pool.type = (PyTypeObject *)type;
    kp_record_pool.names = names;
    kp_record_pool.dealloc = kp_record_pool.type->tp_dealloc;
    kp_record_pool.type->tp_dealloc = kp_record_dealloc;
    kp_record_pool.create = kp_record_pool.type->tp_vectorcall;
    kp_record_pool.type->tp_vectorcall = kp_record_create;
    return 1;
}

#endif
