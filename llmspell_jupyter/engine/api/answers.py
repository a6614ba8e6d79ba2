"""What answers look like, in one piece and as the values of a stream."""

from __future__ import annotations

import base64
import sys
import time
import uuid
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from llmspell_jupyter.engine.api import requests
from llmspell_jupyter.engine.api.requests import Body
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.types import (
    Chunk,
    Completion,
    Embeddings,
    ModelInfo,
    Progress,
    Ready,
    Result,
    TokenLogprob,
    Tokens,
)

# OpenAI's word for a probability of nothing, which JSON cannot write.
_NEVER = -9999.0


class Form(ABC):
    """The form in which one request is answered."""

    def __init__(self, body: Body):
        self.body = body

    def values(self, part: Progress | Chunk | Result) -> Iterator[dict[str, Any]]:
        """The values of a stream to send for this part, in order."""
        if isinstance(part, Progress):
            if self.body.progress:
                yield self._event() | {"llmspell": {"progress": _progress(part)}}
        elif not isinstance(part, Chunk):
            yield self.whole(part)

    @abstractmethod
    def whole(self, result: Result) -> dict[str, Any]:
        """The answer in one piece."""

    def _event(self) -> dict[str, Any]:
        return {"model": self.body.request.model}


class _CompletionForm(Form):
    id_prefix: ClassVar[str]
    object: ClassVar[str]
    chunk_object: ClassVar[str]

    def __init__(self, body: Body):
        super().__init__(body)
        self._head = {
            "id": self.id_prefix + uuid.uuid4().hex,
            "created": int(time.time()),
            "model": body.request.model,
        }

    def values(self, part: Progress | Chunk | Result) -> Iterator[dict[str, Any]]:
        if isinstance(part, Chunk):
            extra: dict[str, Any] = {}
            if self.body.progress:
                extra = {"llmspell": {"tokens": part.tokens}}
                if part.logprobs:
                    extra["llmspell"]["logprobs"] = [asdict(each) for each in part.logprobs]
            yield self._event(self._piece(part, None)) | extra
        elif isinstance(part, Completion):
            yield self._event(self._piece(None, _reason(part))) | _metadata(part.metadata)
            if self.body.usage:
                yield self._event() | {"usage": _usage(part.metadata)}
        else:
            yield from super().values(part)

    def whole(self, result: Result) -> dict[str, Any]:
        assert isinstance(result, Completion)
        choice = {
            "index": 0,
            "finish_reason": _reason(result),
            "logprobs": self._logprobs(result.logprobs),
            **self._said(result.text),
        }
        return {
            **self._head,
            "object": self.object,
            "choices": [choice],
            "usage": _usage(result.metadata),
            **_metadata(result.metadata),
        }

    def _event(self, *choices: dict[str, Any]) -> dict[str, Any]:
        return {**self._head, "object": self.chunk_object, "choices": list(choices)}

    def _piece(self, chunk: Chunk | None, reason: str | None) -> dict[str, Any]:
        return {
            "index": 0,
            "logprobs": self._logprobs(chunk.logprobs if chunk else ()),
            "finish_reason": reason,
            **self._new(chunk.text if chunk else None),
        }

    @abstractmethod
    def _said(self, text: str) -> dict[str, Any]:
        """The whole text as part of a choice."""

    @abstractmethod
    def _new(self, text: str | None) -> dict[str, Any]:
        """New text as part of a choice; None at the end."""

    @abstractmethod
    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        """The tokens that these texts are made of."""


class ChatForm(_CompletionForm):
    """Of ``/v1/chat/completions``."""

    id_prefix, object, chunk_object = "chatcmpl-", "chat.completion", "chat.completion.chunk"

    def __init__(self, body: Body):
        super().__init__(body)
        self._first = True

    def _said(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def _new(self, text: str | None) -> dict[str, Any]:
        delta = {} if text is None else {"content": text}
        if self._first:
            delta = {"role": "assistant"} | delta
            self._first = False
        return {"delta": delta}

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not tokens:
            return None
        content = [
            _alternative(each) | {"top_logprobs": [_alternative(other) for other in each.top]}
            for each in tokens
        ]
        return {"content": content, "refusal": None}


class TextForm(_CompletionForm):
    """Of ``/v1/completions``."""

    id_prefix, object, chunk_object = "cmpl-", "text_completion", "text_completion"

    def __init__(self, body: Body):
        super().__init__(body)
        self._offset = 0

    def _said(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def _new(self, text: str | None) -> dict[str, Any]:
        return {"text": text or ""}

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not tokens:
            return None
        offsets = []
        for each in tokens:
            offsets.append(self._offset)
            self._offset += len(each.token)
        return {
            "tokens": [each.token for each in tokens],
            "token_logprobs": [_finite(each.logprob) for each in tokens],
            "top_logprobs": [
                {other.token: _finite(other.logprob) for other in each.top} for each in tokens
            ],
            "text_offset": offsets,
        }


class EmbeddingForm(Form):
    """Of ``/v1/embeddings``."""

    def whole(self, result: Result) -> dict[str, Any]:
        """The vectors, in the order of the texts."""
        assert isinstance(result, Embeddings)
        used = int(result.metadata.get("prompt_tokens") or 0)
        return {
            "object": "list",
            "model": self.body.request.model,
            "data": [
                {"object": "embedding", "index": number, "embedding": self._written(vector)}
                for number, vector in enumerate(result.vectors)
            ],
            "usage": {"prompt_tokens": used, "total_tokens": used},
            **_metadata(result.metadata),
        }

    def _written(self, vector: Sequence[float]) -> str | list[float]:
        if not self.body.base64:
            return list(vector)
        return base64.b64encode(little_endian(array("f", vector)).tobytes()).decode()


class TokensForm(Form):
    """Of ``/v1/tokenize``."""

    def whole(self, result: Result) -> dict[str, Any]:
        """The tokens, their number and the context that they have to fit in."""
        assert isinstance(result, Tokens)
        return {
            "model": self.body.request.model,
            "tokens": list(result.ids),
            "count": len(result.ids),
            "context_size": result.metadata.get("context_size"),
            **_metadata(result.metadata),
        }


class LoadForm(Form):
    """Of ``/api/load``."""

    def whole(self, result: Result) -> dict[str, Any]:
        """Where the model is ready."""
        assert isinstance(result, Ready)
        return {"model": self.body.request.model, "ready": True, **_metadata(result.metadata)}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What an address takes and gives.

    Attributes:
        body: The kind of its requests, for ``requests.read``.
        form: The form of its answers.
    """

    body: type[Any]
    form: type[Form]


#: Addresses at which a model is asked.
ENDPOINTS: Mapping[str, Endpoint] = {
    "/v1/chat/completions": Endpoint(requests.CHAT, ChatForm),
    "/v1/completions": Endpoint(requests.TEXT, TextForm),
    "/v1/embeddings": Endpoint(requests.EMBEDDINGS, EmbeddingForm),
    "/v1/tokenize": Endpoint(requests.TOKENS, TokensForm),
    "/api/load": Endpoint(requests.LOAD, LoadForm),
}


def model_list(models: Sequence[ModelInfo]) -> dict[str, Any]:
    """The answer of ``/v1/models``."""
    return {"object": "list", "data": [model_entry(each) for each in models]}


def model_entry(model: ModelInfo) -> dict[str, Any]:
    """The answer of ``/v1/models/ID``."""
    return {
        "id": model.id,
        "object": "model",
        "created": model.modified_at,
        "owned_by": "llmspell",
    }


def error_body(error: LLMSpellError) -> dict[str, Any]:
    """An error as OpenAI clients expect it, and whole under ``llmspell`` for our own."""
    return {
        "error": {
            "message": str(error),
            "type": type(error).__name__,
            "param": error.data.get("param"),
            "code": None,
            "llmspell": error.to_wire(),
        }
    }


def little_endian(numbers: array[float]) -> array[float]:
    """Numbers as they are written, and read again by the same."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _progress(part: Progress) -> dict[str, Any]:
    wire = {"phase": str(part.phase), "done": part.done, "total": part.total}
    return wire | ({"note": part.note} if part.note else {})


def _alternative(token: TokenLogprob) -> dict[str, Any]:
    return {
        "token": token.token,
        "logprob": _finite(token.logprob),
        "bytes": list(token.bytes),
    }


def _finite(logprob: float) -> float:
    return max(logprob, _NEVER)


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"llmspell": {"metadata": dict(metadata)}}


def _reason(completion: Completion) -> str:
    return "length" if completion.finish_reason == "length" else "stop"


def _usage(metadata: Mapping[str, Any]) -> dict[str, Any]:
    prompt = int(metadata.get("prompt_tokens") or 0)
    written = int(metadata.get("completion_tokens") or 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": int(metadata.get("cached_tokens") or 0)},
    }
