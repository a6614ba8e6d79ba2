"""The tables that agents take and give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import Completion

# Keys that make a JSON answer a result of its own, which scripts read at the top level.
_RESULT_KEYS = frozenset({"success", "result", "operation"})


def question(given: Any) -> str:
    """The text of an agent's input.

    Args:
        given: ``{text=...}`` (``prompt`` is another name for it) or a plain string.

    Raises:
        RequestError: It is neither, or asks for what no model here can do.
    """
    if isinstance(given, str):
        return given
    if not isinstance(given, Mapping):
        kind = "nothing" if given is None else f"a {type(given).__name__}"
        raise RequestError(
            f"An agent takes a table with a text, not {kind}.",
            hint='Write: agent:execute({text = "..."})',
        )
    if given.get("media") or given.get("image"):
        raise RequestError(
            "The models here read text only; 'media' and 'image' cannot be sent.",
            hint="Leave them out.",
        )
    text = given.get("text", given.get("prompt"))
    if not isinstance(text, str):
        raise RequestError(
            "The table for an agent has no text.",
            hint='Write: agent:execute({text = "..."})',
        )
    return text


def table(completion: Completion, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """An agent's output.

    ``text`` is always the whole answer and ``metadata`` a table. An answer that is a JSON object
    with ``success``, ``result`` or ``operation`` has its keys beside them and the text once more
    as ``_raw_text``; other JSON stands decoded in ``data``.
    """
    text = completion.text
    result: dict[str, Any] = {}
    try:
        decoded = json.loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        if isinstance(decoded, dict) and _RESULT_KEYS & decoded.keys():
            result = {**decoded, "_raw_text": text}
        else:
            result = {"data": decoded}
    return result | {"text": text, "metadata": dict(metadata)}
