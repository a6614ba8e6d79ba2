"""What a request and load options may say. Backends check before anything native runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llmspell_jupyter.errors import ContextOverflow, RequestError
from llmspell_jupyter.types import GenerationRequest, LoadOptions

#: Longest prompt that is looked at, in bytes of UTF-8. Some tokenizers of llama.cpp take time that
#: grows with the square of it, and cannot be stopped.
LONGEST_PROMPT = 2_000_000

_MOST_STOPS = 16
_LONGEST_STOP = 1_000
_MOST = 2**31 - 1

# Field, smallest, largest. A float field takes whole numbers too.
_COUNTS = {
    "max_tokens": (1, _MOST),
    "top_k": (0, _MOST),
    "repeat_last_n": (-1, _MOST),
    # llama.cpp takes 2**32 - 1 for "draw one".
    "seed": (0, 2**32 - 2),
    "context_size": (0, _MOST),
    "batch_size": (1, 65_536),
    "cpu_threads": (0, 512),
}
_NUMBERS = {
    "temperature": (0.0, 10.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repeat_penalty": (0.1, 10.0),
}


def check_request(request: GenerationRequest) -> None:
    """Check everything of a request that does not depend on the model.

    Raises:
        RequestError: Names the field, its value and what it may be; ``data`` holds ``field``.
    """
    _check_input(request)
    _check_count("max_tokens", request.max_tokens)
    _check_stop(request.stop)
    sampling = request.sampling
    for name in _NUMBERS:
        _check_number(name, getattr(sampling, name))
    for name in ("top_k", "repeat_last_n"):
        _check_count(name, getattr(sampling, name))
    if sampling.seed is not None:
        _check_count("seed", sampling.seed)


def check_options(options: LoadOptions) -> None:
    """Check load options.

    Raises:
        RequestError: As ``check_request``.
    """
    for name in ("context_size", "batch_size", "cpu_threads"):
        _check_count(name, getattr(options, name))


def overflow(tokens: int, context_size: int, most: int) -> ContextOverflow:
    """The error for a prompt that does not fit.

    Args:
        tokens: Tokens of the prompt.
        context_size: Tokens that the context holds.
        most: Tokens that it could hold at most.
    """
    over_by = tokens - context_size
    hint = f"Shorten the prompt by {over_by} tokens or more"
    if tokens < most:
        hint += f", or set context_size to more than {tokens}; this model takes up to {most}"
    return ContextOverflow(
        f"The prompt has {tokens} tokens, {over_by} more than the context of {context_size} "
        "holds. Nothing was cut.",
        hint=f"{hint}.",
        data={"prompt_tokens": tokens, "context_size": context_size, "over_by": over_by},
    )


def _check_input(request: GenerationRequest) -> None:
    if (request.messages is None) == (request.prompt is None):
        raise RequestError("A request has either messages or a prompt, not both and not none.")
    if request.prompt is not None:
        _check_text("prompt", request.prompt)
        return
    if not request.messages:
        raise _wrong("messages", [], "at least one message")
    for number, message in enumerate(request.messages):
        _check_text(f"messages[{number}].content", message.content)
        if message.role not in ("system", "user", "assistant"):
            raise _wrong(f"messages[{number}].role", message.role, "system, user or assistant")


def _check_text(field: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _wrong(field, value, "text")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise RequestError(
            f"{field} has half a character (a lone surrogate) at position {error.start}.",
            data={"field": field},
        ) from None
    if size > LONGEST_PROMPT:
        raise RequestError(
            f"{field} has {size:,} bytes; more than {LONGEST_PROMPT:,} are not looked at.",
            data={"field": field},
        )


def _check_stop(stop: Sequence[Any]) -> None:
    if len(stop) > _MOST_STOPS:
        raise _wrong("stop", list(stop), f"at most {_MOST_STOPS} strings")
    for each in stop:
        if not isinstance(each, str) or not 1 <= len(each) <= _LONGEST_STOP:
            raise _wrong("stop", each, f"strings of 1 to {_LONGEST_STOP:,} characters")


def _check_count(field: str, value: Any) -> None:
    least, most = _COUNTS[field]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _wrong(field, value, f"a whole number from {least} to {most}")


def _check_number(field: str, value: Any) -> None:
    least, most = _NUMBERS[field]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or math.isnan(value) or not least <= value <= most:
        raise _wrong(field, value, f"a number from {least:g} to {most:g}")


def _wrong(field: str, value: Any, allowed: str) -> RequestError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return RequestError(
        f"{field} is {shown}; it must be {allowed}.",
        data={"field": field, "value": shown, "allowed": allowed},
    )
