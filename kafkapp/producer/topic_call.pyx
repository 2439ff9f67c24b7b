"""Topic calls: send("orders", value, key=key) becomes send(record), in each method that takes a record."""
from cpython.ref cimport PyObject

from kafkapp.producer.record cimport ARGUMENT_NAMES, make_from_slots
from kafkapp.producer.straight_send cimport type_of


cdef extern from *:
    """
    typedef PyObject *(*kp_method_function)(PyObject *, PyObject **, Py_ssize_t, PyObject *);

    static kp_method_function kp_put_before(PyObject *method, kp_method_function first) {
        PyMethodDef *definition;
        kp_method_function own;
        if (!Py_IS_TYPE(method, &PyMethodDescr_Type) ||
            ((PyMethodDescrObject *)method)->d_method->ml_flags != (METH_FASTCALL | METH_KEYWORDS)) {
            PyErr_SetString(PyExc_SystemError, "kafkapp: Cython has made a method of another kind than METH_FASTCALL");
            return NULL;
        }
        definition = ((PyMethodDescrObject *)method)->d_method;
        own = (kp_method_function)(void (*)(void))definition->ml_meth;
        definition->ml_meth = (PyCFunction)(void (*)(void))first;
        return own;
    }
    """
    kp_method kp_put_before(object method, kp_method first) except NULL
    bint PyUnicode_Check(PyObject *thing)
    PyObject *PyTuple_GET_ITEM(PyObject *items, Py_ssize_t i)
    Py_ssize_t PyTuple_GET_SIZE(PyObject *items)

cdef extern from "plain_arguments.h":
    bint kp_callable(PyObject *thing)

cdef enum:
    TOPIC = 0               # places in ARGUMENT_NAMES
    VALUE = 3
    FIELDS = 7
    MOST_NAMES = 32         # of a call; twice as many as there are


cdef kp_method put_before(type cls, str name, kp_method first) except NULL:
    return kp_put_before(cls.__dict__[name], first)


cdef bint is_topic_call(PyObject **args, Py_ssize_t count, PyObject *names) noexcept:
    cdef Py_ssize_t i
    if count:
        return PyUnicode_Check(args[0])
    if names != NULL:
        for i in range(PyTuple_GET_SIZE(names)):
            if field_of(PyTuple_GET_ITEM(names, i)) == TOPIC:
                return True
    return False


cdef object call_either(kp_method send, str name, PyObject *self, PyObject **args, Py_ssize_t count, PyObject *names):
    if is_topic_call(args, count, names):
        return call_with_record(send, name, self, args, count, names)
    return send(self, args, count, names)


cdef object call_with_record(kp_method send, str name, PyObject *self, PyObject **args, Py_ssize_t count,
                             PyObject *names):
    cdef PyObject *fields[FIELDS]
    cdef PyObject *others[MOST_NAMES + 1]
    cdef Py_ssize_t named = 0 if names == NULL else PyTuple_GET_SIZE(names), i
    cdef int field
    cdef list other_names = []
    if count > 2 or (count == 2 and kp_callable(args[1])):
        raise TypeError(f"{name}(): after a topic and a value all arguments are given by name, as key=key, "
                        "callback=callback")
    if named > MOST_NAMES:
        raise TypeError(f"{name}(): {named} arguments by name are more than there are")
    for field in range(FIELDS):
        fields[field] = NULL
    if count > 0:
        fields[TOPIC] = args[0]
    if count > 1:
        fields[VALUE] = args[1]
    for i in range(named):
        field = field_of(PyTuple_GET_ITEM(names, i))
        if field < 0:
            other_names.append(<object>PyTuple_GET_ITEM(names, i))
            others[len(other_names)] = args[count + i]
        elif fields[field] != NULL:
            raise TypeError(f"{name}(): {ARGUMENT_NAMES[field]} is given twice, by position and by name")
        else:
            fields[field] = args[count + i]
    if fields[VALUE] == NULL:
        raise TypeError(f"{name}(topic, value): the value is missing; None is a null value")
    record = make_from_slots(fields)
    others[0] = <PyObject *>record
    given = tuple(other_names)
    return send(self, others, 1, <PyObject *>given if other_names else NULL)


cdef int field_of(PyObject *name) noexcept:
    """The place of a name in ARGUMENT_NAMES, or -1."""
    cdef int field
    for field in range(FIELDS):
        if PyTuple_GET_ITEM(<PyObject *>ARGUMENT_NAMES, field) == name:
            return field
    if type_of(name) != <PyObject *>str:
        return -1                       # its comparison may run any code
    for field in range(FIELDS):         # equal, but not the same: a name that was made, as in send(**{...})
        if <str>ARGUMENT_NAMES[field] == <object>name:
            return field
    return -1
