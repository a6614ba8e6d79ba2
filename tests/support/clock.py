"""Deadlines of work that must be refused at once."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_once(seconds: float = 0.1, case: object = "") -> Iterator[None]:
    """Hold the block to so much processor time.

    Without collection of garbage: what other tests left is not at issue, and neither is what else
    the machine does.
    """
    gc.disable()
    begun = time.process_time()
    try:
        yield
    finally:
        took = time.process_time() - begun
        gc.enable()
    assert took <= seconds, case
