/* Included before the C stress and csrc/: both as a free-threaded CPython compiles them, where no GIL guards anything.
 * A POSIX mutex stands for CPython's, so that no such CPython has to be there. */
#include <Python.h>
#include <pthread.h>
#ifndef Py_GIL_DISABLED
#define Py_GIL_DISABLED 1
#endif
#define PyMutex pthread_mutex_t /* zero is one that nobody holds, as for CPython's */
#define PyMutex_Lock(mutex) pthread_mutex_lock(mutex)
#define PyMutex_Unlock(mutex) pthread_mutex_unlock(mutex)
#if PY_VERSION_HEX < 0x030D0000
typedef int PyCriticalSection; /* csrc/ itself enters none: it is for the modules */
#endif
