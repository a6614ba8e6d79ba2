"""JSON Schemas that strangers write, and values held against them at a bounded cost.

The library is imported at first use: one that it may bring along compiles a grammar for a second.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Hashable, Iterator
from typing import Any

from llmspell_jupyter.errors import LLMSpellError, RequestError

# Patterns are the backend's to hold: here a hostile one could stop the engine for hours.
_PATTERNS = ("pattern", "patternProperties")
# What these allow depends on the patterns for names, where there are any.
_BESIDE_PATTERNS = ("additionalProperties", "unevaluatedProperties")

# Copying a deeper one, and checking values against it, could exhaust Python's stack.
_DEEPEST = 64

_REFERENCES = ("$ref", "$dynamicRef")

# How often a value is held against a part of a schema, large parts counted by what is in them;
# references that lead to references multiply. A thousand rows of twenty kinds take less, and this
# many about ten seconds.
_MOST_STEPS = 500_000


def check_schema(schema: dict[str, Any]) -> None:
    """Check that a schema is one. Call it on a thread: it can take a second.

    Raises:
        RequestError: It is no JSON Schema, or refers to another document.
    """
    named = [part.get(key) for part in _objects(schema) for key in _REFERENCES]
    kind = _kind(schema)
    # No formats: which of them are known differs between machines, and one compiles patterns.
    with _failing("it cannot be read"):
        error = next(kind(kind.META_SCHEMA).iter_errors(schema), None)
    if error is not None:
        raise _refused(f"{error.message[:300]} (at {_place(error)})")
    far = next((each for each in named if isinstance(each, str) and each[:1] != "#"), None)
    if far is not None:
        raise _refused(
            f"it refers to {far[:100]!r}; only references within it (#/...) are followed"
        )


def unheld(schema: dict[str, Any]) -> tuple[str, ...]:
    """The keywords of a schema that nobody holds an answer to: its patterns."""
    # A property may have such a name as well; what describes it is an object, a pattern is a text.
    kinds = dict(zip(_PATTERNS, (str, dict), strict=True))
    used = {
        name
        for part in _objects(schema)
        for name in kinds
        if isinstance(part.get(name), kinds[name])
    }
    return tuple(sorted(used))


def check_value(value: Any, schema: dict[str, Any], text: str) -> None:
    """Check that a value follows a schema; its patterns are not looked at. Call it on a thread.

    Args:
        value: The value.
        schema: One that ``check_schema`` has passed.
        text: What the value was read from, for the error.

    Raises:
        RequestError: It does not, or the schema cannot be followed, or that takes too long.
    """
    import attrs
    import referencing
    from jsonschema import exceptions

    left_out = list(_PATTERNS)
    if any("patternProperties" in part for part in _objects(schema)):
        left_out += _BESIDE_PATTERNS
    steps = 0

    def enter(validator: Any, **changes: Any) -> Any:
        nonlocal steps
        steps += _weight(changes.get("schema"))
        if steps > _MOST_STEPS:
            raise _endless(text)
        return attrs.evolve(validator, **changes)

    kind = _kind(schema, left_out)
    kind.evolve = enter
    # An empty registry: nothing is fetched from anywhere.
    validator = kind(schema, registry=referencing.Registry())
    # The library takes for granted that what is referred to is there, and a schema.
    with _failing("no answer can be held against it"):
        error = exceptions.best_match(validator.iter_errors(value))
    if error is not None:
        raise RequestError(
            f"The answer does not follow the JSON schema: {error.message[:300]} "
            f"(at {_place(error)}).",
            data={"text": text, "path": list(error.absolute_path)},
        )


def _kind(schema: dict[str, Any], left_out: list[str] | None = None) -> Any:
    """The library's validator for the dialect that a schema names, without these keywords.

    Raises:
        RequestError: What it gives as a dialect's name is none.
    """
    import attrs
    from jsonschema import validators

    name = schema.get("$schema", "")
    dialect = None
    if isinstance(name, str):
        with contextlib.suppress(ValueError):
            dialect = validators.validator_for(schema, default=validators.Draft202012Validator)
    if dialect is None:
        raise _refused(f"its $schema is no address: {str(name)[:100]!r}")
    silent = dict.fromkeys(left_out or (), lambda *_: ())
    kind: Any = validators.extend(dialect, {"uniqueItems": _distinct} | silent)
    # The library's own would take other rules for a part that names a dialect of its own.
    kind.evolve = attrs.evolve
    return kind


def _distinct(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
    """``uniqueItems``; the library's own compares all with all."""
    from jsonschema import exceptions

    if wanted and isinstance(value, list) and len(set(map(_frozen, value))) < len(value):
        yield exceptions.ValidationError(f"{value!r:.100} has non-unique elements")


def _frozen(value: Any) -> Hashable:
    """What is equal for values that are equal in JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return frozenset((key, _frozen(each)) for key, each in value.items())
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return ("is", value) if isinstance(value, bool) else (value,)


def _objects(schema: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """All objects in a schema, itself first.

    Raises:
        RequestError: It is too deep, or holds what is no JSON.
    """
    if depth > _DEEPEST:
        raise _refused(f"it is nested more than {_DEEPEST} levels deep")
    if isinstance(schema, float) and not math.isfinite(schema):
        raise _refused(f"{schema} is no number of JSON")
    if isinstance(schema, dict):
        yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from _objects(each, depth + 1)


def _weight(part: Any) -> int:
    """What it takes to hold a value against a part of a schema, the parts within left out."""
    keywords = part.values() if isinstance(part, dict) else ()
    return 1 + sum(len(each) for each in keywords if isinstance(each, dict | list))


@contextlib.contextmanager
def _failing(cause: str) -> Iterator[None]:
    """Refuse the schema for this cause whatever the block fails with."""
    try:
        yield
    except LLMSpellError:
        raise
    except Exception as error:
        raise _refused(f"{cause}: {type(error).__name__}: {error}"[:300]) from None


def _place(error: Any) -> str:
    return ".".join(map(str, error.absolute_path)) or "the top"


def _endless(text: str) -> RequestError:
    return RequestError(
        f"To hold this answer against the JSON schema takes more than {_MOST_STEPS:,} steps.",
        hint="Ask for a shorter answer or for fewer alternatives, and refer to parts of the schema "
        "less often: references to references multiply.",
        data={"field": "json_schema", "text": text},
    )


def _refused(cause: str) -> RequestError:
    return RequestError(f"The JSON schema cannot be used: {cause}.", data={"field": "json_schema"})
