"""Long chains of objects: freed and read without recursion on the C stack.

Each chain is dropped in a Python of its own, since what fails here ends the process.
"""
import pytest
from helpers import run_python

START = """
import asyncio, gc, logging, re, sys, threading, time, warnings
warnings.simplefilter("ignore")
from kafkapp import *
from kafkapp.aio import KafkaProducer
from kafkapp.producer.record_metadata import _restore_metadata

COUNT = int(sys.argv[1])
NOWHERE = {"bootstrap.servers": "127.0.0.1:1", "error_cb": lambda error: None, "log_cb": lambda *log: None}

def on_a_small_stack(call, size=128 * 1024):        # as musl's threads have
    threading.stack_size(size)
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    threading.stack_size(0)
"""

# What makes `chain`.
CHAINS = {
    "records, each the next one's id": "for _ in range(COUNT): chain = ProducerRecord('t', id=chain)",
    "records with values of each other": """
for _ in range(COUNT):
    chain = memoryview(Value(chain or b'v'))
chain = ProducerRecord('t', value=chain)""",
    "metadata, each the next one's id": "for _ in range(COUNT): chain = _restore_metadata('t', chain, 0, 0, 0, 0, 0, 0, 0, 0)",
    "lines, each the rest of others": """
from kafkapp.producer.line_splitter import split_lines
chain = split_lines(b'line\\n' * (COUNT + 1), 0, True, b'\\n', None, False, COUNT + 1)
for _ in range(COUNT): chain = chain.rest(1)
assert [bytes(value) for _, value in chain] == [b'line']""",
    "keys and headers": "for _ in range(COUNT): chain = memoryview(Key(Header('h', chain or b'v').value)).toreadonly()",
}


@pytest.mark.parametrize("what", CHAINS)
def test_it_goes(what):
    assert run_python(START + f"""
chain = None
{CHAINS[what]}
held = [chain]
del chain
if "id" in sys.argv[2]:    # these take little of the stack each
    on_a_small_stack(held.clear, 1 << 20)
held.clear()                                # on the main thread's stack: a list of lists is no deeper
print("alive")
""", 400_000, what, timeout=60).strip() == "alive"


@pytest.mark.parametrize("what", CHAINS)
def test_it_goes_when_the_garbage_collector_finds_it(what):
    assert run_python(START + f"""
chain = None
{CHAINS[what]}
class Cycle: pass
cycle = Cycle()
cycle.itself, cycle.chain = cycle, chain
del chain, cycle
gc.collect()
print("alive")
""", 200_000, timeout=60).strip() == "alive"


DUE = """
async def main():
    producer = KafkaProducer({**NOWHERE, "message.timeout.ms": 300, "queue.buffering.max.messages": 10})
    held = [producer.send(ProducerRecord("t", 0)) for _ in range(COUNT)]
    for number, future in enumerate(held):
        future.add_done_callback(WHO)
    if KEPT:
        kept.extend(held[::KEPT])
    return producer

kept = []
loop = asyncio.new_event_loop()
class Reported(logging.Handler):
    def emit(self, record):
        global reported
        reported += int(re.search(r": (\\d+) records failed, and the exceptions", record.getMessage())[1])
reported = 0
logging.getLogger("kafkapp").addHandler(Reported(logging.WARNING))
gc.disable()
producer = loop.run_until_complete(main())
loop.close()
del producer            # purges, completes all; nobody will run their callbacks
"""


@pytest.mark.parametrize("kept", [0, 1000])
@pytest.mark.parametrize("who", ["print", "loop.stop"])
def test_futures_whose_callbacks_are_due_and_will_not_be_called(who, kept):
    assert run_python(START + DUE.replace("WHO", who).replace("KEPT", str(kept)) + """
on_a_small_stack(gc.collect)
assert all(future.done() for future in kept)
kept.clear()
on_a_small_stack(gc.collect)
for _ in range(300):        # they are logged in sum, once a second
    if reported == COUNT: break
    time.sleep(0.1)
print(reported)
""", 50_000, timeout=60).strip() == "50000"


def test_futures_that_are_called_are_taken_off_the_chain_first():
    assert run_python(START + """
async def main():
    seen = 0
    def count(future):
        nonlocal seen
        seen += 1
    async with KafkaProducer({**NOWHERE, "queue.buffering.max.messages": 10}) as producer:
        for _ in range(COUNT):
            producer.send(ProducerRecord("t", 0)).add_done_callback(count)
        producer.purge()
        await producer.flush(30)
        await asyncio.sleep(0)
    return seen

def act():
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    print(loop.run_until_complete(main()))
    loop.close()

on_a_small_stack(act)
""", 50_000, timeout=60).strip() == "50000"


def test_futures_that_cancel_each_other():
    assert run_python(START + """
async def main():
    producer = KafkaProducer(NOWHERE)
    record = ProducerRecord("t", 0)
    first = last = producer.send(record)
    producer.purge()
    await producer.flush(30)
    for _ in range(COUNT):
        future = producer.send(ProducerRecord("", 0))       # refused: done at once
        last.add_done_callback(future.exception)
        future.exception()
        last = future
    await producer.close()

loop = asyncio.new_event_loop()
loop.set_exception_handler(lambda loop, context: None)
loop.run_until_complete(main())
print("alive")
""", 200_000, timeout=60).strip() == "alive"


@pytest.mark.parametrize("read", ["str(chain)", "chain == other"])
@pytest.mark.parametrize("what", ["records, each the next one's id", "metadata, each the next one's id"])
def test_reading_one_says_that_it_is_too_deep(what, read):
    if read != "str(chain)" and what.startswith("records"):
        return      # they are equal to themselves only
    assert run_python(START + f"""
chain = None
{CHAINS[what]}
other, chain = chain, None
{CHAINS[what]}
try:
    {read}
except RecursionError:
    print("RecursionError")
""", 200_000, timeout=60).strip() == "RecursionError"
