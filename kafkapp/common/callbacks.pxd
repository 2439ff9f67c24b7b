# C interface of kafkapp.common.callbacks, and declarations of csrc/callbacks.h.


cdef extern from "callbacks.h":
    void kp_report_exception(object exc)
    void kp_call_report(object callback, object metadata, object error, object raised)
    void kp_call(object callback, object first, object second, object third, size_t count, object raised)


cdef int check_callback(object callback) except -1
cdef int run_callback(object callback, tuple args, list raised) except -1
cdef int run_callback_1(object callback, object arg, list raised) except -1
cdef int raise_all(list raised) except -1       # what callbacks raised: one exception as it is, several as a group
cdef int report_all_unraisable(list raised) except -1     # the same, to sys.unraisablehook
cdef void report_unraisable(exc) noexcept                 # one of them
