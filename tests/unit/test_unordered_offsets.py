"""UnorderedOffsetCommitQueue: the offset to commit where records are processed in any order. Row C3 of the C++ API's tests."""
import copy
import pickle
import random
import threading

import pytest

from kafkapp import UnorderedOffsetCommitQueue


def waiting(offsets):
    queue = UnorderedOffsetCommitQueue()
    for offset in offsets:
        queue.wait_offset(offset)
    return queue


def test_in_any_order():
    queue = waiting(range(1, 10))
    assert queue.pop_offset_to_commit() is queue.last_popped_offset is None and len(queue) == 9
    popped = []
    for acknowledged, expected in ((3, None), (2, None), (5, None), (1, 4), (4, 6), (7, None), (6, 8), (8, 9), (9, 10)):
        queue.ack_offset(acknowledged)
        assert queue.pop_offset_to_commit() == expected
        assert queue.pop_offset_to_commit() is None
        popped += [expected] if expected else []
        assert queue.last_popped_offset == (popped[-1] if popped else None)
    assert len(queue) == 0


def test_what_was_acknowledged_between_two_pops_is_one_offset():
    queue = waiting([4, 9, 10, 20])     # with gaps, as a compacted topic has
    for offset in (4, 10, 9):
        queue.ack_offset(offset)
    assert queue.pop_offset_to_commit() == 11 and len(queue) == 1


def test_abnormal_acknowledgements():
    queue = waiting([1, 2])
    for wrong in (2, 1, 0):
        with pytest.raises(ValueError, match="higher than those before, of which the last is 2"):
            queue.wait_offset(wrong)
    for offset in (3, 4, 5):
        queue.wait_offset(offset)
    for offset, expected in ((3, None), (3, None), (2, None), (1, 4), (2, None), (0, None), (3, None)):      # twice; below what was popped
        queue.ack_offset(offset)
        assert queue.pop_offset_to_commit() == expected
    with pytest.raises(ValueError, match="offset 6 was acknowledged and never waited for"):
        queue.ack_offset(6)
    assert queue.pop_offset_to_commit() is None and len(queue) == 2
    queue.wait_offset(6)
    queue.ack_offset(4)
    assert queue.pop_offset_to_commit() == 5 and len(queue) == 2


@pytest.mark.parametrize(("wrong", "kind"), [(-1, ValueError), (2**63 - 1, ValueError), (1.5, TypeError), (None, TypeError), ("1", TypeError), (True, TypeError)])
def test_what_is_no_offset(wrong, kind):
    queue = waiting([1])
    for call in (queue.wait_offset, queue.ack_offset):
        with pytest.raises(kind, match="^offset must be "):
            call(wrong)
    assert len(queue) == 1


@pytest.mark.parametrize("step", [100, 100_000])
def test_a_million_offsets(step):
    count = 1_000_000
    acknowledged = list(range(count))
    chance = random.Random(7)
    queue = UnorderedOffsetCommitQueue()
    for begin in range(0, count, step):
        part = acknowledged[begin:begin + step]
        for offset in part:
            queue.wait_offset(offset)
        chance.shuffle(part)
        for offset in part:
            queue.ack_offset(offset)
        assert queue.pop_offset_to_commit() == begin + step and not len(queue)


def test_by_several_threads():
    queue, count, parts, popped = waiting(range(40_000)), 40_000, 4, []

    def work(first):
        for offset in range(first, count, parts):
            queue.ack_offset(offset)
            if offset % 100 == first:
                popped.append(queue.pop_offset_to_commit())

    threads = [threading.Thread(target=work, args=(first,)) for first in range(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    popped.append(queue.pop_offset_to_commit())
    assert max(offset for offset in popped if offset is not None) == count == queue.last_popped_offset and not len(queue)


def test_it_is_not_copied():
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            way(waiting([1]))
