/* View pool: the memory of freed views, for new ones: a view of what was read is made and dropped for each record. Views
 * of memory only, which the collector does not track. Where Python has a GIL, which guards the pool. */
#ifndef KAFKAPP_VIEW_POOL_H
#define KAFKAPP_VIEW_POOL_H

#include <Python.h>

/* A view's fields as Cython lays them out; views.pyx looks whether it does when it is imported. */
typedef struct {
    PyObject_HEAD
    const void *memory;
    Py_ssize_t length;
    PyObject *source;
} kp_view_fields;

#define KP_POOL_VIEWS 64

typedef struct {
    int count;
    PyObject *views[KP_POOL_VIEWS];
} kp_view_pool;

static kp_view_pool kp_keys, kp_values;
static destructor kp_view_dealloc; /* Cython's own */

static inline void kp_free_view(kp_view_pool *pool, PyObject *view, destructor own) {
    const kp_view_fields *fields = (const kp_view_fields *)view;
    if (fields->memory && pool->count < KP_POOL_VIEWS) {
        PyObject *source = fields->source;
        pool->views[pool->count++] = view;
        Py_DECREF(source); /* last: it may run other code */
    } else {
        /* Without memory it may be of a view's memoryview, and so on: the stack would overflow. */
        PyObject_GC_UnTrack(view);
        Py_TRASHCAN_BEGIN(view, own)
        kp_view_dealloc(view);
        Py_TRASHCAN_END
    }
}

static void kp_key_dealloc(PyObject *key) {
    kp_free_view(&kp_keys, key, kp_key_dealloc);
}

static void kp_value_dealloc(PyObject *value) {
    kp_free_view(&kp_values, value, kp_value_dealloc);
}

/* A view of memory that `owner` owns, which is not NULL. Returns NULL without an exception: the pool is empty. */
static inline PyObject *kp_view_from_pool(kp_view_pool *pool, PyObject *owner, const void *memory, Py_ssize_t length) {
    PyObject *view;
    kp_view_fields *fields;
    if (!pool->count)
        return NULL;
    view = pool->views[--pool->count];
    fields = (kp_view_fields *)view;
    fields->memory = memory;
    fields->length = length;
    fields->source = Py_NewRef(owner);
    _Py_NewReference(view);
    return view;
}

/* Have views freed into the pools. Returns 0 where `key`, a Key of this memory that `owner` owns, shows another layout. */
static inline int kp_view_pool_start(PyObject *key, PyObject *value_type, const PyObject *owner, const void *memory,
                                     Py_ssize_t length) {
    const kp_view_fields *fields = (const kp_view_fields *)key;
    if (Py_TYPE(key)->tp_basicsize != (Py_ssize_t)sizeof(*fields) || fields->memory != memory || fields->length != length ||
        fields->source != owner)
        return 0;
    kp_view_dealloc = Py_TYPE(key)->tp_dealloc;
    Py_TYPE(key)->tp_dealloc = kp_key_dealloc;
    ((PyTypeObject *)value_type)->tp_dealloc = kp_value_dealloc;
    return 1;
}

#endif
