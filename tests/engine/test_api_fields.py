"""Every field of our types is a field of the API, and what a client writes the engine reads."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspell_jupyter.engine import limits
from llmspell_jupyter.engine.api import answers, calls, requests
from llmspell_jupyter.types import (
    EmbeddingRequest,
    GenerationRequest,
    LoadOptions,
    LoadRequest,
    Lookup,
    Message,
    Sampling,
    TokenizeRequest,
)

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
PLACES = st.lists(WORDS.map("/".__add__), max_size=3).map(tuple)
BIASES = st.dictionaries(st.integers(0, 10**9), st.floats(-100, 100), max_size=3)


def _values(name: str, hint: Any) -> st.SearchStrategy[Any]:
    if name == "logit_bias":
        return BIASES.map(lambda each: tuple(each.items()))
    if name in ("caches", "catalogs"):
        return PLACES
    if name == "ollama_store":
        return st.just("") | WORDS.map("/".__add__)
    if get_origin(hint) in (Union, UnionType):
        inner = next(each for each in get_args(hint) if each is not NoneType)
        return st.none() | _values(name, inner)
    if get_origin(hint) is tuple:
        return st.lists(WORDS, max_size=3).map(tuple)
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    least, most = limits.bounds(name) or (0, 1)
    if hint is int:
        return st.integers(int(least), int(most))
    if hint is float:
        return st.floats(least, most)
    return st.booleans() if hint is bool else WORDS


def _any(cls: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        cls, **{name: _values(name, hint) for name, hint in get_type_hints(cls).items()}
    )


LOAD = {"options": _any(LoadOptions), "lookup": _any(Lookup)}
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), WORDS), min_size=1
).map(tuple)
SAID = st.fixed_dictionaries({"messages": MESSAGES}) | st.fixed_dictionaries({"prompt": WORDS})
SCHEMA = st.dictionaries(WORDS, st.booleans() | WORDS, max_size=2)


def _generation(said: dict[str, Any], **rest: Any) -> GenerationRequest:
    return GenerationRequest(**said, **rest)


REQUESTS = st.one_of(
    st.builds(
        _generation,
        SAID,
        model=WORDS,
        max_tokens=st.integers(1, 1000),
        stop=st.lists(WORDS, max_size=3).map(tuple),
        persona=st.none() | WORDS,
        grammar=st.none() | WORDS,
        json_schema=st.none() | SCHEMA,
        logprobs=st.none() | st.integers(0, 20),
        sampling=_any(Sampling),
        **LOAD,
    ),
    st.builds(
        EmbeddingRequest,
        WORDS,
        st.lists(WORDS, min_size=1, max_size=3).map(tuple),
        st.none() | st.integers(1, 100),
        **LOAD,
    ),
    st.builds(
        lambda model, said, **rest: TokenizeRequest(model, **said, **rest), WORDS, SAID, **LOAD
    ),
    st.builds(LoadRequest, WORDS, **LOAD),
)


@given(REQUESTS)
def test_what_a_client_writes_the_engine_reads(request: Any) -> None:
    sent = json.loads(json.dumps(calls.body(request)))
    body = requests.read(sent, answers.ENDPOINTS[calls.address(request)].body)
    # What is left open has the value that left it open.
    assert body.request == replace(request)
    assert body.stream and body.progress


def test_what_is_usual_is_not_sent() -> None:
    assert calls.body(GenerationRequest("echo", prompt="x")) == {
        "model": "echo",
        "prompt": "x",
        "stream": True,
        "llmspell": {"progress": True, "options": {}, "lookup": {}},
    }


@pytest.mark.parametrize("kind", [requests.CHAT, requests.TEXT], ids=["chat", "text"])
def test_every_control_is_a_field(kind: Any) -> None:
    assert {each.name for each in fields(Sampling)} <= kind.model_fields.keys()


def test_a_forbidden_token_arrives() -> None:
    sampling = Sampling(logit_bias=((7, float("-inf")),))
    sent = json.loads(json.dumps(calls.body(GenerationRequest("m", prompt="x", sampling=sampling))))
    request = requests.read(sent, requests.TEXT).request
    assert isinstance(request, GenerationRequest) and request.sampling == sampling


SCHEMA_OF_ANSWER = [
    ({"type": "text"}, None),
    ({"type": "json_object"}, {"type": "object"}),
    (
        {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "integer"}, "strict": True},
        },
        {"type": "integer"},
    ),
]


@pytest.mark.parametrize(("given_format", "schema"), SCHEMA_OF_ANSWER, ids=["text", "any", "own"])
def test_response_formats(given_format: Any, schema: Any) -> None:
    body = {"model": "m", "prompt": "x", "response_format": given_format}
    request = requests.read(body, requests.TEXT).request
    assert isinstance(request, GenerationRequest) and request.json_schema == schema
