"""Errors of torch while it computes."""

from __future__ import annotations

import logging

from llmspell_jupyter.errors import EngineError

_log = logging.getLogger(__name__)


def could_not_go_on(error: Exception) -> EngineError:
    """The error for a request that a library gave up on, mostly for want of memory.

    Its whole story goes to the worker's log.
    """
    _log.error("torch could not go on", exc_info=error)
    cause = (str(error).splitlines() or [""])[0] or type(error).__name__
    return EngineError(
        f"torch could not go on: {cause}",
        hint="If memory is short, set a smaller context_size or batch_size, or take a smaller "
        "model.",
        data={"cause": cause},
    )
