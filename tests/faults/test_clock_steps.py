"""Steps of the wall clock by an hour while records are in flight: nothing is lost, timeouts hold.

Fault F47. stepped_clock.c replaces the clock of a process of its own; its waits behave as the kernel's.
"""
import json
import shutil
import struct

import pytest
from helpers import NOWHERE, ROOT, finish, preloaded, shared_library, start_python

PROGRAM = """
import json, struct, sys, threading, time
from faultkit import Books, make
from kafkapp import ProducerRecord

kind, bootstrap, nowhere, topic, file, step = sys.argv[1:]
stepped = []

def set_clock(offset):
    before = time.time()
    with open(file, "r+b", buffering=0) as clock:
        clock.write(struct.pack("q", offset))
    stepped.append(time.time() - before)

def send(producer, books):
    for _ in range(50):
        number = books.number()
        books.accept(number)
        producer.send(ProducerRecord(topic, 0, value=bytearray(9), id=number), books.report)

def outcome(books, start):
    books.check()
    return time.monotonic() - start, sorted({code.name if code else "delivered" for code in books.codes})

def there():
    books, start = Books(), time.monotonic()
    with make(kind, bootstrap, {"linger.ms": 300, "message.timeout.ms": 5000}) as producer:
        for offset in (int(step), 0):       # while flush waits
            send(producer, books)
            timer = threading.Timer(0.15, set_clock, [offset])
            timer.start()
            producer.flush(10)
            timer.join()
    return outcome(books, start)

def away():
    books = Books()
    producer = make(kind, nowhere, {"message.timeout.ms": 1000})
    send(producer, books)
    time.sleep(0.1)             # until its threads wait
    set_clock(int(step))
    start = time.monotonic()
    producer.close(3)
    return outcome(books, start)

print(json.dumps([there(), away(), stepped]))
"""


@pytest.fixture
def clock(tmp_path, monkeypatch):
    """The file that holds the offset of the clock of the programs that are started from here on."""
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    library, file = tmp_path / "clock.so", tmp_path / "clock"
    shared_library(ROOT / "tests" / "native" / "stepped_clock.c", library)
    file.write_bytes(struct.pack("q", 0))
    preloaded(library, monkeypatch)
    monkeypatch.setenv("STEPPED_CLOCK", str(file))
    return file


@pytest.mark.parametrize("kind, step", [("Auto", -3600), ("Manual", 3600)])      # each steps back again
def test_a_step_of_the_clock_loses_nothing(broker, topic, faults, clock, kind, step):
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'tests' / 'support')!r})" + PROGRAM
    for _ in range(faults.rounds(1, 50)):
        clock.write_bytes(struct.pack("q", 0))
        out, err = finish(start_python(program, kind, broker.bootstrap_servers, NOWHERE, topic, clock, step), 60)
        assert out, err
        (took, said), (closed, failed), stepped = json.loads(out)
        assert [round(seconds / 3600) for seconds in stepped] == [step // 3600, -step // 3600, step // 3600], "the clock was not set"
        assert said == ["delivered"] and took < 5
        # Set back, librdkafka looks at the timeouts of records without a broker only when the clock has caught up: close purges.
        assert set(failed) <= {"RD_KAFKA_RESP_ERR__MSG_TIMED_OUT", *([] if step > 0 else ["RD_KAFKA_RESP_ERR__PURGE_QUEUE"])}
        assert closed < 5
    faults.figure(steps=3 * faults.rounds(1, 50), hours=step // 3600)


def test_control_a_wait_until_a_time_of_day_goes_on_when_the_clock_is_set_back(clock):
    # As the kernel does it; and without the step it ends.
    program = """
import ctypes, struct, sys, threading, time
libc = ctypes.CDLL(None)
cond, mutex = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
def wait():
    until = (ctypes.c_int64 * 2)(int(time.time()) + 1, 0)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_cond_timedwait(cond, mutex, until)
thread = threading.Thread(target=wait, daemon=True)
thread.start()
time.sleep(0.05)
with open(sys.argv[1], "r+b", buffering=0) as clock:
    clock.write(struct.pack("q", int(sys.argv[2])))
thread.join(1.3)
print(thread.is_alive(), flush=True)
os._exit(0)
"""
    ended = [finish(start_python(program, clock, step))[0].strip() for step in (0, -3600)]
    assert ended == ["False", "True"]
