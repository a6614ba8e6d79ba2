"""The OpenAI API as data: what a request may say, what an answer looks like.

Source: https://platform.openai.com/docs/api-reference/chat. Fields of our own stand under
``llmspell``: in a request ``{"progress": true, "options": {context_size, batch_size,
cpu_threads}}``, in the last value of an answer its metadata.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmspell_jupyter.errors import LLMSpellError, RequestError
from llmspell_jupyter.types import (
    Chunk,
    Completion,
    GenerationRequest,
    LoadOptions,
    Message,
    ModelInfo,
    Progress,
    Sampling,
)

# Bounds of numbers only; what a model can do is for its backend to say.
_MANY = 10_000_000

_DEFAULT_MAX_TOKENS = GenerationRequest(model="").max_tokens

# How pydantic names the alternatives of a union.
_KIND = re.compile(r"\[|^(constrained-)?str$")

_Zero = Annotated[float, Field(ge=0, le=0)]

_Stop = Annotated[str, Field(min_length=1, max_length=1_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _TextPart(_Strict):
    type: Literal["text"]
    text: str


class _Message(_Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_TextPart]

    def message(self) -> Message:
        role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, str):
            return Message(role, self.content)
        return Message(role, "".join(part.text for part in self.content))


class _TextFormat(_Strict):
    type: Literal["text"]


class _StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: bool = False


class _Options(_Strict):
    context_size: Annotated[int, Field(ge=0, le=_MANY)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    cpu_threads: Annotated[int, Field(ge=0, le=1024)] | None = None


class _Extensions(_Strict):
    progress: bool = False
    options: _Options = Field(default_factory=_Options)


class _Body(_Strict):
    model: str
    stream: bool = False
    stream_options: _StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=10)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=_MANY)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1, le=_MANY)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=_MANY)] | None = None
    stop: _Stop | list[_Stop] | None = None
    # What the engine has not, said to be off.
    n: Literal[1] | None = None
    presence_penalty: _Zero | None = None
    frequency_penalty: _Zero | None = None
    logprobs: Literal[False] | None = None
    response_format: _TextFormat | None = None
    # These name or label a request and change nothing in its answer.
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    llmspell: _Extensions = Field(default_factory=_Extensions)

    def generation(self) -> GenerationRequest:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        sampling = self.model_dump(include=set(Sampling.__dataclass_fields__), exclude_none=True)
        options = self.llmspell.options.model_dump(exclude_none=True)
        return GenerationRequest(
            model=self.model,
            max_tokens=self.max_tokens or _DEFAULT_MAX_TOKENS,
            stop=stop,
            sampling=Sampling(**sampling),
            options=LoadOptions(**options),
        )


class _ChatBody(_Body):
    messages: Annotated[list[_Message], Field(min_length=1, max_length=10_000)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=_MANY)] | None = None

    def generation(self) -> GenerationRequest:
        request = super().generation()
        return replace(
            request,
            messages=tuple(each.message() for each in self.messages),
            max_tokens=self.max_completion_tokens or request.max_tokens,
        )


class _TextBody(_Body):
    prompt: str

    def generation(self) -> GenerationRequest:
        return replace(super().generation(), prompt=self.prompt)


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the two completion endpoints."""

    body: type[_ChatBody | _TextBody]
    id_prefix: str
    object: str
    chunk_object: str


CHAT = Kind(_ChatBody, "chatcmpl-", "chat.completion", "chat.completion.chunk")
TEXT = Kind(_TextBody, "cmpl-", "text_completion", "text_completion")


@dataclass(frozen=True, slots=True)
class Body:
    """A checked request.

    Attributes:
        request: What to generate.
        stream: Answer as server-sent events.
        usage: Add token counts to a stream.
        progress: Add progress to a stream, which other clients would take for text.
    """

    request: GenerationRequest
    stream: bool
    usage: bool
    progress: bool


def read_body(value: Any, kind: Kind) -> Body:
    """Check a request.

    Raises:
        RequestError: A field is unknown, missing, of the wrong type or out of range.
    """
    try:
        body = kind.body.model_validate(value)
    except ValidationError as error:
        raise _explain(error) from None
    usage = bool(body.stream_options and body.stream_options.include_usage)
    return Body(body.generation(), body.stream, usage, body.llmspell.progress)


def _explain(error: ValidationError) -> RequestError:
    # Where several kinds of value are allowed, the complaint that got furthest is about the kind
    # that was meant; the names of the kinds stand between those of the fields.
    worst = max(error.errors(include_url=False), key=lambda each: len(each["loc"]))
    field = ".".join(str(part) for part in worst["loc"] if not _KIND.search(str(part)))
    if not field:
        return RequestError("The body is not a JSON object with a request.")
    unknown = worst["type"] == "extra_forbidden"
    cause = "is not supported by this engine" if unknown else worst["msg"].lower()
    return RequestError(f"{field[:200]}: {cause}.", data={"param": field[:200]})


class Stream:
    """Turns the parts of one answer into the values of a stream."""

    def __init__(self, kind: Kind, body: Body):
        self._kind = kind
        self._body = body
        self._head = {
            "id": kind.id_prefix + uuid.uuid4().hex,
            "object": kind.chunk_object,
            "created": int(time.time()),
            "model": body.request.model,
        }
        self._first = True

    def values(self, part: Progress | Chunk | Completion) -> Iterator[dict[str, Any]]:
        """The values to send for this part, in order."""
        if isinstance(part, Progress):
            if self._body.progress:
                wire = {"phase": str(part.phase), "done": part.done, "total": part.total}
                yield self._head | {"choices": [], "llmspell": {"progress": wire}}
        elif isinstance(part, Chunk):
            extra = {"llmspell": {"tokens": part.tokens}} if self._body.progress else {}
            yield self._head | {"choices": [self._choice(part.text, None)]} | extra
        else:
            yield (
                self._head
                | {"choices": [self._choice("", _reason(part))]}
                | {"llmspell": {"metadata": part.metadata}}
            )
            if self._body.usage:
                yield self._head | {"choices": [], "usage": _usage(part)}

    def _choice(self, text: str, reason: str | None) -> dict[str, Any]:
        if self._kind is TEXT:
            return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        delta = {"content": text} if text or reason is None else {}
        if self._first:
            delta = {"role": "assistant"} | delta
            self._first = False
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def whole(
    kind: Kind, request: GenerationRequest, completion: Completion, created: int
) -> dict[str, Any]:
    """An answer in one piece."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": _reason(completion), "logprobs": None}
    if kind is CHAT:
        choice["message"] = {"role": "assistant", "content": completion.text, "refusal": None}
    else:
        choice["text"] = completion.text
    return {
        "id": kind.id_prefix + uuid.uuid4().hex,
        "object": kind.object,
        "created": created,
        "model": request.model,
        "choices": [choice],
        "usage": _usage(completion),
        "llmspell": {"metadata": completion.metadata},
    }


def model_list(models: Sequence[ModelInfo]) -> dict[str, Any]:
    """The answer of ``/v1/models``."""
    return {
        "object": "list",
        "data": [
            {
                "id": model.id,
                "object": "model",
                "created": model.modified_at,
                "owned_by": "llmspell",
            }
            for model in models
        ],
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


def _reason(completion: Completion) -> str:
    return "length" if completion.finish_reason == "length" else "stop"


def _usage(completion: Completion) -> dict[str, int]:
    prompt = int(completion.metadata.get("prompt_tokens") or 0)
    written = int(completion.metadata.get("completion_tokens") or 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
    }
