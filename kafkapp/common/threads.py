"""Native threads: started without `threading`, then registered there, so that tools and tracers see them.

`threading` is imported by the first such thread, not with kafkapp.
"""
import _thread

# Their monkey patching turns each thread into a greenlet. A greenlet that blocks in C, as ours do, blocks all others.
GREENLET_PACKAGES = {"gevent", "eventlet"}


def start_thread(function):
    """Call `function()` in a native thread, without waiting for its start."""
    start = _thread.start_new_thread
    if (getattr(start, "__module__", None) or "").partition(".")[0] in GREENLET_PACKAGES:
        start = unpatched_thread_module().start_new_thread
    start(function, ())


def unpatched_thread_module():
    """A new _thread module, with the interpreter's own functions."""
    from importlib.machinery import BuiltinImporter
    from importlib.util import module_from_spec
    spec = BuiltinImporter.find_spec("_thread")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def register_thread(client):
    """Name this thread after the client in `threading`, and install the hooks of `threading.settrace`, `setprofile`."""
    import sys
    import threading
    threading.current_thread().name = f"kafkapp {client}"
    if threading.gettrace() is not None:
        sys.settrace(threading.gettrace())
    if threading.getprofile() is not None:
        sys.setprofile(threading.getprofile())


def unregister_thread(client):
    """Remove this thread, which ends, from threading's list: before Python 3.13 nothing else does."""
    import threading
    getattr(threading, "_active", {}).pop(threading.get_ident(), None)
