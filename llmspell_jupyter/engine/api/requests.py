"""What a question to a model may say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, create_model
from pydantic_core import PydanticCustomError

from llmspell_jupyter.engine.api.reading import (
    MOST_ITEMS,
    Strict,
    inside,
    lacking,
    lookup,
    optional,
    tuples,
    valid,
    within,
    wrong,
)
from llmspell_jupyter.types import (
    EmbeddingRequest,
    EngineRequest,
    GenerationRequest,
    LoadOptions,
    LoadRequest,
    Lookup,
    Message,
    Sampling,
    TokenizeRequest,
)

_T = TypeVar("_T", bound=BaseModel)


# Messages, formats and the other small tables


class _TextPart(Strict):
    type: Literal["text"]
    text: str


class _Message(Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_TextPart]
    name: Annotated[Any, lacking()] = None
    refusal: Annotated[Any, lacking()] = None
    annotations: Annotated[Any, lacking([])] = None
    audio: Annotated[Any, lacking()] = None
    tool_calls: Annotated[Any, lacking([])] = None
    function_call: Annotated[Any, lacking()] = None

    def message(self) -> Message:
        role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, str):
            return Message(role, self.content)
        return Message(role, "".join(part.text for part in self.content))


_Messages = Annotated[list[_Message], Field(min_length=1, max_length=MOST_ITEMS)]


class _NamedSchema(Strict):
    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    # Every schema holds strictly here.
    strict: bool | None = None
    description: str | None = None


class _ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _NamedSchema | None = None

    def schema_of_answer(self) -> dict[str, Any] | None:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise wrong("response_format.json_schema", "goes with type 'json_schema'")
        if self.json_schema is not None:
            return self.json_schema.schema_
        return {"type": "object"} if self.type == "json_object" else None


class _StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: bool = False


class _Ours(Strict):
    progress: bool = False

    def load(self) -> dict[str, Any]:
        """``options`` and ``lookup`` as fields of a request."""
        given = self.model_dump(include={"options"}, exclude_none=True)
        # The subclasses that are bodies have both.
        return {"options": LoadOptions(**given["options"]), "lookup": lookup(self.lookup)}  # type: ignore[attr-defined]


class _OurWords(_Ours):
    persona: str | None = None


# Bodies


@dataclass(frozen=True, slots=True)
class Body:
    """A checked request.

    Attributes:
        request: What to do.
        stream: Answer as server-sent events.
        usage: Add token counts to a stream.
        progress: Add progress to a stream, which other clients would take for text.
        base64: Write vectors as base64 of little-endian 32-bit floats.
    """

    request: EngineRequest
    stream: bool = False
    usage: bool = False
    progress: bool = False
    base64: bool = False


class _Asked(Strict):
    """What all bodies have."""

    model: str
    stream: bool = False
    # It labels a request and changes nothing in its answer.
    user: str | None = None
    llmspell: _Ours

    def body(self) -> Body:
        return Body(self.request(), self.stream, progress=self.llmspell.progress)

    def request(self) -> EngineRequest:
        raise NotImplementedError


_Stop = Annotated[str, Field(min_length=1, max_length=1_000)]
_Count = Annotated[int, within("max_tokens")]
_Logprobs = Annotated[int, within("logprobs")]
_Token = Annotated[str, Field(pattern=r"^\d{1,10}$")]
# Minus infinity forbids a token; what is not a number compares with nothing.
_Bias = Annotated[float, Field(lt=float("inf"))]


class _Completion(_Asked):
    stream_options: _StreamOptions | None = None
    stop: _Stop | list[_Stop] | None = None
    max_tokens: _Count | None = None
    response_format: _ResponseFormat | None = None
    grammar: str | None = None
    # What the engine has not, said to be off.
    n: Literal[1] | None = None
    # These label a request, too.
    metadata: dict[str, str] | None = None
    store: bool | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    llmspell: _OurWords

    def body(self) -> Body:
        usage = bool(self.stream_options and self.stream_options.include_usage)
        return replace(super().body(), usage=usage)

    def generation(self, **rest: Any) -> GenerationRequest:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        request = GenerationRequest(
            self.model,
            stop=stop,
            persona=self.llmspell.persona,
            grammar=self.grammar,
            json_schema=self.response_format.schema_of_answer() if self.response_format else None,
            sampling=self.sampling(),
            **self.llmspell.load(),
            **rest,
        )
        most = self.max_tokens
        return request if most is None else replace(request, max_tokens=most)

    def sampling(self) -> Sampling:
        given = self.model_dump(include=set(Sampling.__dataclass_fields__), exclude_none=True)
        if "logit_bias" in given:
            given["logit_bias"] = [
                (int(token), bias) for token, bias in given["logit_bias"].items()
            ]
        return Sampling(**tuples(given))


class _Chat(_Completion):
    messages: _Messages
    max_completion_tokens: _Count | None = None
    logprobs: bool | None = None
    top_logprobs: _Logprobs | None = None
    tools: Annotated[Any, lacking([])] = None
    tool_choice: Annotated[Any, lacking("none", "auto")] = None
    parallel_tool_calls: Annotated[Any, lacking(True, False)] = None
    functions: Annotated[Any, lacking([])] = None
    function_call: Annotated[Any, lacking("none", "auto")] = None
    modalities: Annotated[Any, lacking(["text"])] = None
    audio: Annotated[Any, lacking()] = None
    prediction: Annotated[Any, lacking()] = None
    web_search_options: Annotated[Any, lacking()] = None
    moderation: Annotated[Any, lacking()] = None
    reasoning_effort: Annotated[Any, lacking("none")] = None
    verbosity: Annotated[Any, lacking("medium")] = None
    service_tier: Annotated[Any, lacking("auto", "default")] = None

    def request(self) -> GenerationRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise wrong("top_logprobs", "goes with logprobs = true")
        request = self.generation(
            messages=tuple(each.message() for each in self.messages),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )
        most = self.max_completion_tokens
        return request if most is None else replace(request, max_tokens=most)


def _one_prompt(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if len(value) != 1 or not isinstance(value[0], str):
        raise PydanticCustomError("prompts", "one text is answered at a time")
    return value[0]


class _Text(_Completion):
    prompt: Annotated[str, BeforeValidator(_one_prompt)]
    logprobs: _Logprobs | None = None
    best_of: Annotated[Any, lacking(1)] = None
    echo: Annotated[Any, lacking(False)] = None
    suffix: Annotated[Any, lacking("")] = None

    def request(self) -> GenerationRequest:
        return self.generation(prompt=self.prompt, logprobs=self.logprobs)


def _texts(value: Any) -> Any:
    if value == []:
        raise PydanticCustomError("empty", "is an empty list")
    if isinstance(value, list) and any(isinstance(each, int | list) for each in value):
        raise PydanticCustomError("tokens", "holds token ids; this engine embeds text")
    return value


class _Embedding(_Asked):
    input: Annotated[
        str | Annotated[list[str], Field(max_length=MOST_ITEMS)],
        BeforeValidator(_texts),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, within("dimensions")] | None = None

    def body(self) -> Body:
        return replace(super().body(), base64=self.encoding_format == "base64")

    def request(self) -> EmbeddingRequest:
        texts = (self.input,) if isinstance(self.input, str) else tuple(self.input)
        return EmbeddingRequest(self.model, texts, self.dimensions, **self.llmspell.load())


class _Tokens(_Asked):
    prompt: str | None = None
    messages: _Messages | None = None

    def request(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise wrong("prompt", "either this or messages is needed, and not both")
        messages = tuple(each.message() for each in self.messages) if self.messages else None
        return TokenizeRequest(self.model, messages, self.prompt, **self.llmspell.load())


class _Load(_Asked):
    stream: bool = True

    def body(self) -> Body:
        return replace(super().body(), progress=True)

    def request(self) -> LoadRequest:
        return LoadRequest(self.model, **self.llmspell.load())


class _Unload(_Asked):
    force: bool = False

    def request(self) -> LoadRequest:
        return LoadRequest(self.model, **self.llmspell.load())


def _whole(base: type[_T], ours: type[_Ours] = _Ours, **fields: Any) -> type[_T]:
    """A body with ``llmspell`` and the fields that come from our types."""
    extension = create_model(
        "llmspell",
        __base__=ours,
        options=inside("options", LoadOptions),
        lookup=inside("lookup", Lookup),
    )
    fields["llmspell"] = (extension, Field(default_factory=extension))
    return create_model(base.__name__.strip("_"), __base__=base, **fields)


_SAMPLING = optional(Sampling) | {"logit_bias": (dict[_Token, _Bias] | None, None)}

CHAT = _whole(_Chat, _OurWords, **_SAMPLING)
TEXT = _whole(_Text, _OurWords, **_SAMPLING)
EMBEDDINGS = _whole(_Embedding)
TOKENS = _whole(_Tokens)
LOAD = _whole(_Load)
UNLOAD = _whole(_Unload)


def read(value: Any, kind: type[_Asked]) -> Body:
    """Check a request.

    Args:
        value: JSON value that came.
        kind: ``CHAT``, ``TEXT``, ``EMBEDDINGS``, ``TOKENS`` or ``LOAD``.

    Raises:
        RequestError: A field is unknown, missing, of the wrong type or out of range.
    """
    return valid(value, kind).body()


def read_unload(value: Any) -> tuple[LoadRequest, bool]:
    """What to unload, and whether also while it works.

    Raises:
        RequestError: As ``read``.
    """
    asked = valid(value, UNLOAD)
    return asked.request(), asked.force
