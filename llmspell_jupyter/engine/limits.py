"""What a request and load options may say. Backends check before anything native runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from llmspell_jupyter.errors import ContextOverflow, RequestError
from llmspell_jupyter.types import (
    CacheType,
    DeviceName,
    DType,
    EmbeddingRequest,
    GenerationRequest,
    LoadOptions,
    Message,
    Sampling,
    TokenizeRequest,
)

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
    "max_concurrent": (1, 1024),
    "gpu_layers": (-1, 10_000),
    "dry_allowed_length": (0, _MOST),
    "dry_penalty_last_n": (-1, _MOST),
    "mirostat": (0, 2),
    "num_beams": (1, 64),
    "logprobs": (0, 20),
    "dimensions": (1, 65_536),
}
_NUMBERS = {
    "temperature": (0.0, 10.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "typical_p": (0.0, 1.0),
    "top_n_sigma": (0.0, 100.0),
    "repeat_penalty": (0.1, 10.0),
    "presence_penalty": (-10.0, 10.0),
    "frequency_penalty": (-10.0, 10.0),
    "dry_multiplier": (0.0, 100.0),
    "dry_base": (1.0, 100.0),
    "xtc_probability": (0.0, 1.0),
    "xtc_threshold": (0.0, 1.0),
    "dynatemp_range": (0.0, 10.0),
    "dynatemp_exponent": (0.0, 10.0),
    "mirostat_tau": (0.0, 100.0),
    "mirostat_eta": (0.0, 1.0),
    "length_penalty": (-10.0, 10.0),
}
_CHOICES = {
    "device": get_args(DeviceName),
    "dtype": get_args(DType),
    "cache_type": get_args(CacheType),
}

_MOST_TEXTS = 10_000
_MOST_BIASES = 1_000
_MOST_BREAKERS = 32

#: Fields of a request, beside those of its sampling, that some backends have not.
OPTIONAL = ("grammar", "json_schema", "logprobs")

_NO_SAMPLING = Sampling()


def bounds(field: str) -> tuple[float, float] | None:
    """Smallest and largest value of a field; None when it has no such bounds."""
    return _COUNTS.get(field) or _NUMBERS.get(field)


def check_request(request: GenerationRequest, controls: Collection[str], backend: str) -> None:
    """Check everything of a request that does not depend on the model.

    Args:
        request: The request.
        controls: What the backend acts on, see ``Backend.controls``.
        backend: Its name, for messages.

    Raises:
        RequestError: Names the field, its value and what it may be; ``data`` holds ``field``.
    """
    check_input(request.messages, request.prompt)
    _check_count("max_tokens", request.max_tokens)
    check_stop(request.stop)
    if request.grammar is not None and request.json_schema is not None:
        raise RequestError(
            "A request has either a grammar or a JSON schema, not both.", data={"field": "grammar"}
        )
    if request.logprobs is not None:
        _check_count("logprobs", request.logprobs)
    check_sampling(request.sampling)
    if lacking := lacks(request, controls):
        raise RequestError(
            f"{lacking[0]} is not available for this model: {backend} has no such control.",
            hint="Leave it out, or use a model that has it; the guide lists the controls.",
            data={"field": lacking[0], "engine_backend": backend},
        )


def check_sampling(sampling: Sampling) -> None:
    """Check each control by itself.

    Raises:
        RequestError: As ``check_request``.
    """
    for name in Sampling.__dataclass_fields__:
        value = getattr(sampling, name)
        if value is None:
            continue
        if name in _NUMBERS:
            _check_number(name, value)
        elif name in _COUNTS:
            _check_count(name, value)
    _check_biases(sampling.logit_bias)
    _check_breakers(sampling.dry_sequence_breakers)


def settled(sampling: Sampling, defaults: Mapping[str, float]) -> Sampling:
    """The sampling with the values of the backend where it leaves them open."""
    unset = {name: each for name, each in defaults.items() if getattr(sampling, name) is None}
    return replace(sampling, **unset)  # type: ignore[arg-type]


def lacks(request: GenerationRequest, controls: Collection[str]) -> list[str]:
    """Fields that a request sets and a backend with these controls does not have."""
    set_here = [
        name
        for name in Sampling.__dataclass_fields__
        if getattr(request.sampling, name) != getattr(_NO_SAMPLING, name)
    ]
    set_here += [name for name in OPTIONAL if getattr(request, name) is not None]
    return [name for name in set_here if name not in controls]


def conversation(request: GenerationRequest) -> tuple[Message, ...] | None:
    """The messages for a chat model: its persona stands in for instructions that are not there."""
    messages = request.messages
    if not messages or not request.persona or any(each.role == "system" for each in messages):
        return messages
    return (Message("system", request.persona), *messages)


def check_embedding(request: EmbeddingRequest) -> None:
    """Check the texts of an embedding request.

    Raises:
        RequestError: As ``check_request``.
    """
    if not 1 <= len(request.texts) <= _MOST_TEXTS:
        raise _wrong("input", len(request.texts), f"1 to {_MOST_TEXTS:,} texts")
    for number, text in enumerate(request.texts):
        _check_text(f"input[{number}]", text)
    if request.dimensions is not None:
        _check_count("dimensions", request.dimensions)


def check_tokenize(request: TokenizeRequest) -> None:
    """Check the text of a tokenize request.

    Raises:
        RequestError: As ``check_request``.
    """
    check_input(request.messages, request.prompt)


def check_options(options: LoadOptions) -> None:
    """Check load options.

    Raises:
        RequestError: As ``check_request``.
    """
    for name in LoadOptions.__dataclass_fields__:
        value = getattr(options, name)
        if name in _COUNTS:
            _check_count(name, value)
        elif name in _CHOICES and value not in _CHOICES[name]:
            raise _wrong(name, value, f"one of {', '.join(_CHOICES[name])}")


def ledger(
    messages: Sequence[Message] | None, tokens: int, count: Callable[[str], int]
) -> dict[str, int]:
    """Where the tokens of a prompt come from.

    Args:
        messages: The conversation; None for a plain prompt.
        tokens: Tokens of the whole prompt.
        count: Tokens of a text alone.

    Returns:
        Tokens of ``system``, ``history``, ``tools`` and ``prompt``, the last message being the
        prompt, and of ``template``: what the model's form of a conversation adds.
    """
    if not messages:
        return {"system": 0, "history": 0, "tools": 0, "prompt": tokens, "template": 0}
    *before, last = messages
    parts = {
        "system": sum(count(each.content) for each in before if each.role == "system"),
        "history": sum(count(each.content) for each in before if each.role != "system"),
        "tools": 0,
        "prompt": count(last.content),
    }
    return parts | {"template": max(0, tokens - sum(parts.values()))}


def overflow(
    tokens: int, context_size: int, most: int, parts: Mapping[str, int]
) -> ContextOverflow:
    """The error for a prompt that does not fit.

    Args:
        tokens: Tokens of the prompt.
        context_size: Tokens that the context holds.
        most: Tokens that it could hold at most.
        parts: Its ledger.
    """
    over_by = tokens - context_size
    ways = [f"shorten the prompt by {over_by:,} tokens or more"]
    if parts["history"]:
        ways.append("begin a new conversation by building the agent anew")
        ways.append("set a smaller max_conversation_length")
    if tokens < most:
        ways.append(
            f"set context_size to more than {tokens:,} (this model takes up to {most:,}): "
            "Agent.builder():context_window(n), or context_size in the profile"
        )
    told = ", ".join(f"{name} {count:,}" for name, count in parts.items() if count)
    return ContextOverflow(
        f"The prompt has {tokens:,} tokens ({told}), {over_by:,} more than the context of "
        f"{context_size:,} holds. Nothing was cut.",
        hint=f"You can {', or '.join(ways)}.",
        data={
            "prompt_tokens": tokens,
            "context_size": context_size,
            "over_by": over_by,
            "ledger": dict(parts),
        },
    )


def check_input(messages: Sequence[Message] | None, prompt: str | None) -> None:
    """Check that there is either a conversation or a prompt, and what it says.

    Raises:
        RequestError: As ``check_request``.
    """
    if (messages is None) == (prompt is None):
        raise RequestError("A request has either messages or a prompt, not both and not none.")
    if prompt is not None:
        _check_text("prompt", prompt)
        return
    if not messages:
        raise _wrong("messages", [], "at least one message")
    for number, message in enumerate(messages):
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


def check_stop(stop: Sequence[Any]) -> None:
    """Check stop strings.

    Raises:
        RequestError: As ``check_request``.
    """
    if len(stop) > _MOST_STOPS:
        raise _wrong("stop", list(stop), f"at most {_MOST_STOPS} strings")
    for each in stop:
        if not isinstance(each, str) or not 1 <= len(each) <= _LONGEST_STOP:
            raise _wrong("stop", each, f"strings of 1 to {_LONGEST_STOP:,} characters")


def _check_biases(biases: Sequence[tuple[Any, Any]]) -> None:
    if len(biases) > _MOST_BIASES:
        raise _wrong("logit_bias", len(biases), f"at most {_MOST_BIASES:,} tokens")
    for token, bias in biases:
        # Minus infinity forbids a token.
        number = isinstance(bias, int | float) and not math.isnan(bias) and bias != math.inf
        if not isinstance(token, int) or token < 0 or not number:
            raise _wrong("logit_bias", (token, bias), "token ids with numbers")


def _check_breakers(breakers: Sequence[Any]) -> None:
    if len(breakers) > _MOST_BREAKERS:
        raise _wrong("dry_sequence_breakers", len(breakers), f"at most {_MOST_BREAKERS} texts")
    for each in breakers:
        if not isinstance(each, str) or not 1 <= len(each) <= 100:
            raise _wrong("dry_sequence_breakers", each, "texts of 1 to 100 characters")


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
