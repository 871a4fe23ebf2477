"""Waiting on conditions with a deadline."""

import time

from process import BOUND, Failed, expect

PAUSE = 0.05  # seconds between two looks


def eventually(what, holds, bound=BOUND):
    """Waits until `holds()`; returns what it returned."""
    deadline = time.monotonic() + bound
    while not (found := holds()):
        expect(time.monotonic() < deadline, f"not within {bound} s: {what}")
        time.sleep(PAUSE)
    return found


def eventually_passes(check, bound=BOUND):
    """Waits until `check()` raises nothing; its last complaint is that of the test."""
    deadline = time.monotonic() + bound
    while True:
        try:
            return check()
        except Failed:
            if time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)
