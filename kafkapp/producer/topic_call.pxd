# C interface of kafkapp.producer.topic_call.

from cpython.ref cimport PyObject

# What CPython calls of a method that takes its arguments without a tuple.
ctypedef object (*kp_method)(PyObject *self, PyObject **args, Py_ssize_t count, PyObject *names)

# Have `first` called in place of a class's method of that name. Returns the method's own function.
cdef kp_method put_before(type cls, str name, kp_method first) except NULL

# Whether a call gives a topic, and not a record.
cdef bint is_topic_call(PyObject **args, Py_ssize_t count, PyObject *names) noexcept

# Make a record of a topic call's arguments, and call `send` with it and all arguments that are no record's. `name`: the
# method's, for errors.
cdef object call_with_record(kp_method send, str name, PyObject *self, PyObject **args, Py_ssize_t count,
                             PyObject *names)

# The same where a topic is given; else call `send` as it was called. What is put before most methods is this alone.
cdef object call_either(kp_method send, str name, PyObject *self, PyObject **args, Py_ssize_t count, PyObject *names)
