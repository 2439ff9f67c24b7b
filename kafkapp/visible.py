"""Threads that threading has not started: begun, and shown by it as its own, to those who look for threads, to tracers.

Layer L0: knows nothing of kafkapp. threading is imported when there is such a thread, not with kafkapp.
"""
import _thread

# Their monkey patching makes a greenlet of each thread. One that waits in C, as all of ours do, would stop all others.
GREENLET_PACKAGES = {"gevent", "eventlet"}


def start_thread(function):
    """Call `function()` in a thread of the system's, without waiting for its start."""
    start = _thread.start_new_thread
    if (getattr(start, "__module__", None) or "").partition(".")[0] in GREENLET_PACKAGES:
        start = unpatched_thread_module().start_new_thread
    start(function, ())


def unpatched_thread_module():
    """A new _thread, with what the interpreter was built with."""
    from importlib.machinery import BuiltinImporter
    from importlib.util import module_from_spec
    spec = BuiltinImporter.find_spec("_thread")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def register_thread(client):
    """Give this thread a name after the client's and what `threading.settrace` and `setprofile` ask for."""
    import sys
    import threading
    threading.current_thread().name = f"kafkapp {client}"
    if threading.gettrace() is not None:
        sys.settrace(threading.gettrace())
    if threading.getprofile() is not None:
        sys.setprofile(threading.getprofile())


def unregister_thread(client):
    """Take this thread, which ends, off threading's list: before Python 3.13 nobody else does."""
    import threading
    getattr(threading, "_active", {}).pop(threading.get_ident(), None)
