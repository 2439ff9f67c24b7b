"""Instruction budgets of a whole client process: what a delivered record costs with Python, librdkafka and libc, by callgrind.

The cases are those of `kafkapp bench --instructions`. kafkapp's own modules are guarded closer, without noise, in
test_instruction_budgets.py.
"""
import os
import platform
import shutil

import pytest

from kafkapp.bench import instructions
from kafkapp.bench.broker import mock_cluster
from kafkapp.bench.scenarios import c_program, ours

CASES = {
    "callback": ours("tuned", 60_000),
    "none": ours("tuned", 60_000, callback=False),
    "topic call": ours("send", 60_000),
    "topic call, none": ours("send", 60_000, callback=False),
    "keywords": ours("keywords", 60_000),
    "ten topics": ours("tuned", 60_000, topics=10),
    "manual": ours("manual", 60_000),
    "list": ours("list", 60_000, batch=1000),
    "columns": ours("columns", 60_000, batch=1000),
    "sync": ours("sync", 3000),
}
# Instructions a record, x86_64, CPython 3.11 without profile-guided optimisation, librdkafka 2.15.1 by gcc 12 without link-time
# optimisation, where C costs 2635. Measured and some 3 percent more: librdkafka's requests are not the same in any two
# runs (by 60 to 100), and an optimised interpreter differs by up to 70. Other builds of librdkafka move the loop of C alike, so that what a
# record costs beyond that loop is compared. 2.0.2 differs by less than the play.
C_LOOP = 2635
BUDGET = {"callback": 4660, "none": 3740, "topic call": 4410, "topic call, none": 3465, "keywords": 4790, "ten topics": 5040,
          "manual": 4740, "list": 2585, "columns": 2590, "sync": 40_000}
OFTEN = "callback", "none", "topic call", "list"     # the others take as long, a minute each: with --faults=thorough


@pytest.fixture(scope="module")
def servers():
    with mock_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def c_loop(servers):
    """What a record costs a C program, here and now."""
    return instructions.count(c_program(60_000), servers) if shutil.which("valgrind") else C_LOOP


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the budgets are instructions of x86_64")
@pytest.mark.parametrize("how", BUDGET)
def test_a_record_stays_within_the_budget_of_the_process(request, servers, c_loop, how):
    if how not in OFTEN and request.config.getoption("--faults") != "thorough":
        pytest.skip("a minute each (--faults=thorough)")
    if not shutil.which("valgrind"):
        if os.environ.get("CI"):
            pytest.fail("valgrind is not installed")
        pytest.skip("valgrind is not installed")
    cost = instructions.count(CASES[how], servers)
    if cost > BUDGET[how] + c_loop - C_LOOP:        # both figures have librdkafka's noise in them
        cost = min(cost, instructions.count(CASES[how], servers))
    print(f"{how}: {cost:.0f} instructions a record, C's loop {c_loop:.0f}")
    assert BUDGET[how] / 2 < cost < BUDGET[how] + c_loop - C_LOOP + 100
