"""Ctrl-C at each of the moments at which Python lets one through."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType


def interrupted(action: Callable[[], object], moment: int) -> bool:
    """Run an action with ``KeyboardInterrupt`` raised at one moment of it.

    Python looks for signals when a function begins and after a call of a C function, so these
    are the moments. Only those of the calling thread count.

    Args:
        action: What is interrupted; any other error of it passes through.
        moment: Which moment, from 0.

    Returns:
        False if the action ended before that moment.
    """
    left = moment

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        if event not in ("call", "c_return") or frame.f_code.co_filename == __file__:
            return
        left -= 1
        if left < 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(look)
    try:
        action()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
    return left < 0
