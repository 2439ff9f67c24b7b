"""A thread that threading has not started, shown by it as one of its own, to those who look for threads and to tracers.

Layer L0: knows nothing of kafkapp. threading is imported when there is such a thread, not with kafkapp.
"""


def show(client):
    """Give this thread a name after the client's and what `threading.settrace` and `setprofile` ask for."""
    import sys
    import threading
    threading.current_thread().name = f"kafkapp {client}"
    if threading.gettrace() is not None:
        sys.settrace(threading.gettrace())
    if threading.getprofile() is not None:
        sys.setprofile(threading.getprofile())


def hide(client):
    """Take this thread, which ends, off threading's list: before Python 3.13 nobody else does."""
    import threading
    getattr(threading, "_active", {}).pop(threading.get_ident(), None)
