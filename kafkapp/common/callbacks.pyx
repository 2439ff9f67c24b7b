"""The user's callbacks: calls them, and says where their exceptions go.

Each exception goes to a list `raised`, for the call that dispatches to raise at its end; where that is None, to
sys.unraisablehook. So all callbacks run, whatever one of them raises.
"""


cdef int check_callback(object callback) except -1:
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None, not {type(callback).__name__}")
    return 0


cdef int run_callback(object callback, tuple args, list raised) except -1:
    """Call a user's callback with one to three arguments."""
    cdef Py_ssize_t n = len(args)
    kp_call(callback, args[0], args[1] if n > 1 else None, args[2] if n > 2 else None, n, raised)
    return 0


cdef int run_callback_1(object callback, object arg, list raised) except -1:
    """The same with one argument. Creates no object, and so cannot fail."""
    kp_call(callback, arg, None, None, 1, raised)
    return 0


cdef int raise_all(list raised) except -1:
    """Raise what callbacks have raised: one exception as it is, several as a group."""
    if raised:
        if len(raised) == 1:
            raise raised[0]
        raise BaseExceptionGroup("several callbacks raised", raised)
    return 0


cdef int report_all_unraisable(list raised) except -1:
    """The same while another exception propagates: passes them to sys.unraisablehook, so that none is lost."""
    for exc in raised or ():
        report_unraisable(exc)
    return 0


cdef void report_unraisable(exc) noexcept:
    kp_report_exception(exc)
