"""The API from a client's side: writing requests, reading the streams that answer them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llmspell_jupyter.engine import messages
from llmspell_jupyter.errors import LLMSpellError, from_wire
from llmspell_jupyter.types import (
    Chunk,
    Completion,
    EmbeddingRequest,
    Embeddings,
    EngineRequest,
    GenerationRequest,
    LoadOptions,
    LoadRequest,
    Lookup,
    Message,
    Phase,
    Progress,
    Ready,
    Result,
    Sampling,
    TokenizeRequest,
    TokenLogprob,
    Tokens,
)

_USUAL = GenerationRequest(model="")


def address(request: EngineRequest) -> str:
    """Where the engine takes such a request."""
    if isinstance(request, GenerationRequest):
        return "/v1/completions" if request.messages is None else "/v1/chat/completions"
    if isinstance(request, EmbeddingRequest):
        return "/v1/embeddings"
    return "/v1/tokenize" if isinstance(request, TokenizeRequest) else "/api/load"


def body(request: EngineRequest) -> dict[str, Any]:
    """A request as the engine reads it; what has its usual value is left out."""
    ours: dict[str, Any] = {
        "progress": True,
        "options": unusual(request.options, LoadOptions()),
        "lookup": unusual(request.lookup, Lookup()),
    }
    value = {"model": request.model, "stream": True, "llmspell": ours}
    if isinstance(request, LoadRequest):
        return value
    if isinstance(request, EmbeddingRequest):
        size = {} if request.dimensions is None else {"dimensions": request.dimensions}
        return value | {"input": list(request.texts)} | size
    value |= _said(request.messages, request.prompt)
    if isinstance(request, GenerationRequest):
        if request.persona is not None:
            ours["persona"] = request.persona
        value |= _how(request)
    return value


def _said(messages: Sequence[Message] | None, prompt: str | None) -> dict[str, Any]:
    if messages is None:
        return {"prompt": prompt}
    return {"messages": [{"role": each.role, "content": each.content} for each in messages]}


def _how(request: GenerationRequest) -> dict[str, Any]:
    how = unusual(request.sampling, Sampling())
    if "logit_bias" in how:
        how["logit_bias"] = {str(token): bias for token, bias in how["logit_bias"]}
    if request.max_tokens != _USUAL.max_tokens:
        how["max_tokens"] = request.max_tokens
    if request.stop:
        how["stop"] = list(request.stop)
    if request.grammar is not None:
        how["grammar"] = request.grammar
    if request.json_schema is not None:
        named = {"name": "answer", "schema": request.json_schema}
        how["response_format"] = {"type": "json_schema", "json_schema": named}
    if request.logprobs is not None and request.messages is not None:
        how |= {"logprobs": True, "top_logprobs": request.logprobs}
    elif request.logprobs is not None:
        how["logprobs"] = request.logprobs
    return how


def unusual(value: Any, usual: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from those of another of its kind."""
    return {
        name: mine
        for name in usual.__dataclass_fields__
        if (mine := getattr(value, name)) != getattr(usual, name)
    }


class Reader:
    """Reads the values of one stream."""

    def __init__(self, request: EngineRequest):
        self._request = request
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []

    def part(self, data: str) -> Progress | Chunk | Result | None:
        """The part that one value stands for; None if it stands for none.

        Args:
            data: What follows ``data:``.

        Raises:
            LLMSpellError: The value is an error.
        """
        if data == "[DONE]":
            return None
        value = json.loads(data)
        if "error" in value:
            raise error(value)
        extra = value.get("llmspell", {})
        if "progress" in extra:
            told = extra["progress"]
            return Progress(Phase(told["phase"]), told["done"], told["total"], told.get("note", ""))
        if "metadata" in extra:
            return self._result(value, extra["metadata"])
        choice = value["choices"][0]
        new = choice["text"] if "text" in choice else choice["delta"].get("content", "")
        logprobs = tuple(map(messages.logprob_from_wire, extra.get("logprobs", ())))
        self._text.append(new)
        self._logprobs += logprobs
        return Chunk(new, extra.get("tokens", 0), logprobs)

    def _result(self, value: dict[str, Any], metadata: dict[str, Any]) -> Result:
        if isinstance(self._request, LoadRequest):
            return Ready(metadata)
        if isinstance(self._request, EmbeddingRequest):
            return Embeddings(tuple(tuple(each["embedding"]) for each in value["data"]), metadata)
        if isinstance(self._request, TokenizeRequest):
            return Tokens(tuple(value["tokens"]), metadata)
        reason = metadata["finish_reason"]
        return Completion("".join(self._text), reason, metadata, tuple(self._logprobs))


def error(value: dict[str, Any]) -> LLMSpellError:
    """The error that an answer of the engine describes."""
    told = value["error"]
    return from_wire(told.get("llmspell") or {"type": "EngineError", **told})
