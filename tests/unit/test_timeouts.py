"""Timeouts in milliseconds: rounded up, but not by what a float adds to the decimals that the user wrote."""
import ctypes
import random
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal

import numpy as np
import pytest
from helpers import exported

from kafkapp.common import timeouts
from kafkapp.testing.arguments import delay_to_ms

timeout_to_ms = exported(timeouts, "timeout_to_ms", ctypes.c_int64, ctypes.py_object, ctypes.c_void_p)

TABLE = [
    (0, 0), (0.0, 0), (-0.0, 0), (1, 1000), (10, 10_000), (1.5, 1500), (timedelta(0), 0), (np.int64(3), 3000),
    # A little more than the decimals in binary, or after the multiplication.
    (2.007, 2007), (0.07, 70), (0.001, 1), (1.001, 1001), (4.035, 4035), (0.1 + 0.2, 300), (0.29, 290), (np.float64(2.007), 2007),
    (16777216.001, 16_777_216_001), (86400.007, 86_400_007), (4294967.297, 4_294_967_297),
    # More than whole milliseconds.
    (0.0001, 1), (0.0011, 2), (2.0071, 2008), (2.007001, 2008), (2.006999, 2007), (1.0000009, 1001), (16777216.001001, 16_777_216_002),
    # No positive timeout is 0.
    (1e-6, 1), (4e-7, 1), (1e-9, 1), (5e-324, 1),
    # timedelta is exact.
    (timedelta(seconds=2, milliseconds=7), 2007), (timedelta(seconds=2, microseconds=7001), 2008), (timedelta(microseconds=1), 1),
    (timedelta(days=36500, microseconds=1000), 3_153_600_000_001), (timedelta(days=36500, microseconds=1001), 3_153_600_000_002),
    # As good as forever, and more.
    (1e12, 10**15), (1.1e12, -1), (float("inf"), -1), (timedelta.max, -1), (None, -1),
]


@pytest.mark.parametrize("timeout, ms", TABLE)
def test_a_timeout_in_milliseconds(timeout, ms):
    assert timeout_to_ms(timeout, None) == ms


def test_decimals_of_up_to_six_places_are_exact():
    source = random.Random(7)
    for places in (3, 6):
        for _ in range(20_000):
            written = Decimal(source.randrange(10 ** source.randrange(1, 13))).scaleb(-places)
            assert timeout_to_ms(float(written), None) == (written * 1000).to_integral_value(ROUND_CEILING), written
    for us in (source.randrange(10 ** source.randrange(1, 15)) for _ in range(20_000)):
        assert timeout_to_ms(timedelta(microseconds=us), None) == -(-us // 1000), us


@pytest.mark.parametrize("seconds", [0, 2.007, 0.1 + 0.2, 1e-12, timedelta(microseconds=1500)])
def test_the_delays_of_a_mock_cluster_are_rounded_alike(seconds):
    assert delay_to_ms(seconds, "seconds") == timeout_to_ms(seconds, None)
