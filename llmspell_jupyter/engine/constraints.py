"""Answers that follow a JSON Schema or a grammar: checked before anything loads, and at the end.

The backend writes nothing that breaks the rules; here is seen that the answer is whole.

The library is imported when a schema is there: one that it may bring along compiles a grammar for
a second.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from llmspell_jupyter.errors import AnswerCut, RequestError
from llmspell_jupyter.types import Completion, GenerationRequest

# Patterns are the backend's to hold: here a hostile one could keep the engine busy for hours.
_NOT_HERE = dict.fromkeys(("pattern", "patternProperties"), lambda *_: ())

# Copying a deeper one, and checking answers against it, could exhaust Python's stack.
_DEEPEST = 64


def check(request: GenerationRequest) -> None:
    """Check the schema that an answer is to follow. Call it on a thread: it can take a second.

    Raises:
        RequestError: It is no JSON Schema, or refers to another document.
    """
    schema = request.json_schema
    if schema is None:
        return
    from jsonschema import exceptions

    far = next((each for each in _references(schema) if not each.startswith("#")), None)
    try:
        _validator(schema).check_schema(schema)
    except exceptions.SchemaError as error:
        where = ".".join(map(str, error.absolute_path)) or "the top"
        raise _refused(f"{error.message[:300]} (at {where})") from None
    if far is not None:
        raise _refused(
            f"it refers to {far[:100]!r}; only references within it (#/...) are followed"
        )


def check_answer(request: GenerationRequest, answer: Completion) -> None:
    """Check that an answer is what was asked for.

    Raises:
        AnswerCut: A limit or a stop string ended it too early.
        RequestError: It does not follow the schema.
    """
    if request.grammar is None and request.json_schema is None:
        return
    if answer.finish_reason == "length":
        raise _cut(answer, _limit(answer))
    if answer.finish_reason == "cancelled" or request.json_schema is None:
        return
    try:
        value = json.loads(answer.text)
    except (ValueError, RecursionError):
        raise _cut(answer, "it is no whole JSON value") from None
    _check_value(value, request.json_schema, answer.text)


def _validator(schema: dict[str, Any]) -> Any:
    from jsonschema import validators

    return validators.validator_for(schema, default=validators.Draft202012Validator)


def _check_value(value: Any, schema: dict[str, Any], text: str) -> None:
    import referencing.exceptions
    from jsonschema import exceptions, validators

    kind = validators.extend(_validator(schema), _NOT_HERE)
    # An empty registry: nothing is fetched from anywhere.
    validator = kind(schema, registry=referencing.Registry())
    try:
        error = exceptions.best_match(validator.iter_errors(value))
    except (referencing.exceptions.Unresolvable, RecursionError) as unusable:
        raise _refused(f"a reference in it leads nowhere: {unusable}"[:300]) from None
    if error is not None:
        where = ".".join(map(str, error.absolute_path)) or "the top"
        raise RequestError(
            f"The answer does not follow the JSON schema: {error.message[:300]} (at {where}).",
            data={"text": text, "path": list(error.absolute_path)},
        )


def _references(schema: Any, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST:
        raise _refused(f"it is nested more than {_DEEPEST} levels deep")
    if isinstance(schema, float) and not math.isfinite(schema):
        raise _refused(f"{schema} is no number of JSON")
    if isinstance(schema, dict):
        refers = ("$ref", "$dynamicRef")
        yield from (schema[key] for key in refers if isinstance(schema.get(key), str))
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from _references(each, depth + 1)


def _limit(answer: Completion) -> str:
    facts = answer.metadata
    used = (facts.get("prompt_tokens") or 0) + (facts.get("completion_tokens") or 0)
    full = used >= (facts.get("context_size") or used + 1)
    limit = "the context is full" if full else "max_tokens is reached"
    return f"{limit} after {facts.get('completion_tokens')} tokens"


def _cut(answer: Completion, cause: str) -> AnswerCut:
    return AnswerCut(
        f"The answer ended before it was whole: {cause}.",
        hint="Raise max_tokens (Agent.builder():max_tokens(n)), or ask for less; "
        "error.data['text'] holds what was written.",
        data={"text": answer.text, "finish_reason": answer.finish_reason},
    )


def _refused(cause: str) -> RequestError:
    return RequestError(f"The JSON schema cannot be used: {cause}.", data={"field": "json_schema"})
