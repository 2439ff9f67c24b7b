/* Counts and flags that several threads touch, with and without a GIL. Everything named kp_* is ours.
 *
 * With the GIL, a thread that changes what other threads change too holds it. Without a GIL, these take its place:
 * - The macros below for each count or flag that several threads touch, and a mutex for what is more than one.
 * - Count first, then look: a call that uses the handle counts itself before it checks that the client is open, and a
 *   sender its record too. close() marks the client as closing before it reads the counts. So at least one sees the
 *   other.
 * - What only one thread may do, such as destroy the handle, is done by the one that takes it (KP_TAKE, kp_claim).
 * - Cython's critical sections for the fields of objects that the user's threads may share and change: records.
 */
#ifndef KAFKAPP_ATOMICS_H
#define KAFKAPP_ATOMICS_H

#include <Python.h>

/* Whether there is a GIL, which guards what its holder touches: constant, so that the compiler drops the other way. */
#ifdef Py_GIL_DISABLED
#define KP_GIL 0
#else
#define KP_GIL 1
#endif

#ifdef Py_GIL_DISABLED
#define KP_ADD(place, n) ((void)__atomic_fetch_add(&(place), (n), __ATOMIC_SEQ_CST))
#else
#define KP_ADD(place, n) __atomic_store_n(&(place), (place) + (n), __ATOMIC_RELAXED)
#endif
#define KP_READ(place) __atomic_load_n(&(place), __ATOMIC_SEQ_CST)
#define KP_SET(place, value) __atomic_store_n(&(place), (value), __ATOMIC_SEQ_CST)
#define KP_TAKE(place) __atomic_exchange_n(&(place), 0, __ATOMIC_SEQ_CST)

/* A critical section where Cython's own costs too much. The code in it must not raise. */
#ifdef Py_GIL_DISABLED
typedef PyCriticalSection kp_section;
#define kp_section_begin(section, object) PyCriticalSection_Begin(section, object)
#define kp_section_end(section) PyCriticalSection_End(section)
#else
typedef char kp_section;
#define kp_section_begin(section, object) ((void)(section))
#define kp_section_end(section) ((void)(section))
#endif

/* Make thread `me` the owner of `place`. Returns 0 when another thread owns it already. */
static inline int kp_claim(unsigned long *place, unsigned long me) {
    unsigned long owner = 0;
    return __atomic_compare_exchange_n(place, &owner, me, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) || owner == me;
}

#endif
