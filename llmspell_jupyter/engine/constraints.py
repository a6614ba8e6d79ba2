"""Answers that follow a JSON Schema or a grammar: checked before anything loads, and at the end.

The backend writes nothing that breaks the rules; here is seen that the answer is whole.
"""

from __future__ import annotations

import json
from typing import Any

from llmspell_jupyter.engine import json_schema
from llmspell_jupyter.engine.threads import in_daemon_thread
from llmspell_jupyter.errors import AnswerCut
from llmspell_jupyter.types import Completion, GenerationRequest


async def check(request: GenerationRequest) -> str:
    """Check the schema that an answer is to follow.

    Returns:
        What of it an answer may break all the same, in words; empty when nothing.

    Raises:
        RequestError: It is no JSON Schema, or refers to another document.
    """
    if request.json_schema is None:
        return ""
    return await in_daemon_thread(_check_schema, request.json_schema)


def _check_schema(schema: dict[str, Any]) -> str:
    json_schema.check_schema(schema)
    names = json_schema.unheld(schema)
    return f"the answer is not held to {' and '.join(names)} of the JSON schema." if names else ""


async def check_answer(request: GenerationRequest, answer: Completion) -> None:
    """Check that an answer is what was asked for.

    Raises:
        AnswerCut: A limit or a stop string ended it too early.
        RequestError: It does not follow the schema, or to see that takes too long.
    """
    if request.grammar is None and request.json_schema is None:
        return
    if answer.finish_reason == "length":
        raise _cut(answer, _limit(answer))
    if answer.finish_reason != "cancelled" and request.json_schema is not None:
        await in_daemon_thread(_check_json, answer, request.json_schema)


def _check_json(answer: Completion, schema: dict[str, Any]) -> None:
    try:
        value = json.loads(answer.text)
    except (ValueError, RecursionError):
        raise _cut(answer, "it is no whole JSON value") from None
    json_schema.check_value(value, schema, answer.text)


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
