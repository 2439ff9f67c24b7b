"""Producers that nobody closed: dropped, or still open when the interpreter ends. They are closed, within a bound.

Layer L5: knows clients, no producers.
"""
import atexit

from libc.stdint cimport int64_t

from kafkapp.client import clients

from kafkapp.client cimport FLUSH_SLICE, LAST_WAIT, Client
from kafkapp.delivery cimport KP_READ, kp_outstanding, report
from kafkapp.handle cimport OPEN
from kafkapp.timeouts cimport now, passed


cdef int abandon(Client client) except -1:
    """The producer is gone and nobody has closed it: deliver what can be delivered within a bound, lose no report."""
    if not client.warn_open():
        return 0
    if client.in_callback():
        # Its last reference went in one of its own callbacks: that thread cannot wait for itself.
        import threading
        threading.Thread(target=close_abandoned, args=(client,), name=f"kafkapp {client.name} closing").start()
    else:
        close_abandoned(client)
    return 0


def close_abandoned(Client client not None):
    try:
        client.close(now() + LAST_WAIT)
    except BaseException:
        client.close(0)     # interrupted: what is not delivered now is purged, and reported
        raise


cdef bint drained(Client client) except -1:
    """Whether nothing is in flight; a short look, and a push."""
    if not client.enter_unless_closed():
        return True
    try:
        return (KP_READ(client.state) != OPEN or not kp_outstanding(&client.deliveries)
                or client.wait_reported(KP_READ(client.deliveries.epoch), now() + FLUSH_SLICE, None))
    finally:
        client.leave()


cdef list living():
    """The clients of this process."""
    cdef Client client
    while True:
        try:
            return [client for client in list(clients) if not client.foreign()]
        except RuntimeError:
            continue        # another thread has made one meanwhile, or closed one


@atexit.register
def close_all():
    """Before the interpreter goes, while threads still run. All producers together have the time that one has."""
    cdef Client client
    cdef int64_t deadline = now() + LAST_WAIT
    left = living()
    try:
        for client in left:
            client.warn_open()
        waiting = left
        while waiting and not passed(deadline):
            waiting = [client for client in waiting if not drained(client)]
    except BaseException as exc:
        report(exc)
        deadline = 0        # interrupted: what is not delivered now is purged, and reported
    for client in left:
        try:
            client.close(deadline)
        except BaseException as exc:
            report(exc)
            deadline = 0
            client.close(0)     # interrupted: once more, without waiting
