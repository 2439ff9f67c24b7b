"""Wakeup: what a task waits for, which the loop's callback that wakes it resumes at once."""
import asyncio

import pytest
from helpers import run_in_loop

from kafkapp.aio.wakeup import Wakeup


async def begun(wakeup, seen):
    """A task that waits for it."""
    async def waits():
        await wakeup
        seen.append("woken")

    task = asyncio.ensure_future(waits())
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize(("how", "when"), [("wake", ["woken", "after"]), ("set", ["after", "woken"])])
def test_wake_goes_on_with_the_task_at_once_and_set_soon(how, when):
    async def go():
        seen, wakeup = [], Wakeup(asyncio.get_running_loop())

        def wakes():
            getattr(wakeup, how)()
            seen.append("after")

        task = await begun(wakeup, seen)
        assert not wakeup.done() and wakeup.get_loop() is asyncio.get_running_loop()
        asyncio.get_running_loop().call_soon(wakes)
        await task
        assert seen == when and wakeup.done() and wakeup.exception() is None

    run_in_loop(go())


def test_inside_a_task_it_wakes_soon():
    """Where a loop runs in a task; no task can run in another one."""
    async def go():
        seen, wakeup = [], Wakeup(asyncio.get_running_loop())
        task = await begun(wakeup, seen)
        wakeup.wake()
        wakeup.wake()
        assert seen == []
        await task
        assert seen == ["woken"] and not wakeup.cancel()

    run_in_loop(go())


def test_who_waits_may_be_cancelled_and_others_go_on():
    async def go():
        seen, wakeup = [], Wakeup(asyncio.get_running_loop())
        task = await begun(wakeup, seen)
        with pytest.raises(asyncio.InvalidStateError):
            wakeup.result()
        task.cancel("enough")
        await asyncio.wait((task,))
        with pytest.raises(asyncio.CancelledError, match="enough"):
            wakeup.result()
        assert task.cancelled() and wakeup.cancelled() and seen == []
        wakeup.wake()
        wakeup.set()
        with pytest.raises(asyncio.CancelledError):
            await wakeup

    run_in_loop(go())


def test_each_of_several_callbacks_is_called_once_in_its_context():
    async def go():
        called, wakeup = [], Wakeup(asyncio.get_running_loop())
        for callback in called.append, lambda one: called.append(2), (lone := lambda one: called.append(3)):
            wakeup.add_done_callback(callback)
        assert wakeup.remove_done_callback(lone) == 1 and wakeup.remove_done_callback(lone) == 0
        asyncio.get_running_loop().call_soon(wakeup.wake)
        await asyncio.wait((asyncio.ensure_future(asyncio.sleep(0.01)),))
        wakeup.add_done_callback(lone)          # it is done
        await asyncio.sleep(0.01)
        assert called == [wakeup, 2, 3]

    run_in_loop(go())


def test_an_exit_in_what_it_wakes_is_the_loops():
    async def exits(wakeup):
        await wakeup
        raise SystemExit(3)

    async def go():
        seen, wakeup = [], Wakeup(asyncio.get_running_loop())
        task = asyncio.ensure_future(exits(wakeup))
        await asyncio.sleep(0)
        other = await begun(wakeup, seen)
        asyncio.get_running_loop().call_soon(wakeup.wake)
        await asyncio.wait((task, other))

    with pytest.raises(SystemExit):
        asyncio.run(go())
