"""Which backend answers a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmspell_jupyter.engine import architectures, dispatch
from llmspell_jupyter.engine.backend import Backend
from llmspell_jupyter.errors import RequestError, UnsupportedModel
from llmspell_jupyter.types import (
    EmbeddingRequest,
    EngineRequest,
    GenerationRequest,
    LoadRequest,
    ModelInfo,
    TokenizeRequest,
)

WRITE = GenerationRequest(model="m", prompt="x")
EMBED = EmbeddingRequest(model="m", texts=("x",))
NAMED = sorted(
    {
        name
        for each in architectures.all_architectures()
        for names in each.backends.values()
        for name in names
    }
)


def model(architecture: str, form: str = "GGUF") -> ModelInfo:
    return ModelInfo("m", "candle", Path("/m"), form, 1, 1, architecture)


@pytest.mark.parametrize("name", NAMED)
def test_every_backend_that_is_named_is_there(name: str) -> None:
    assert name in dispatch.names()
    assert issubclass(dispatch.backend(name), Backend)


def test_every_backend_is_named() -> None:
    assert set(dispatch.names()) <= set(NAMED)
    assert not [name for name in dispatch.names() if name.startswith("_")]


@pytest.mark.parametrize(
    "request_", [WRITE, EMBED, TokenizeRequest("m", prompt="x"), LoadRequest("m")]
)
def test_gguf_is_for_llama_cpp(request_: EngineRequest) -> None:
    assert dispatch.choose(model("llama"), request_) == dispatch.Choice("llama_cpp")


@pytest.mark.parametrize("form", ["GGUF", "safetensors"])
def test_an_embedding_model_does_not_write(form: str) -> None:
    with pytest.raises(RequestError, match="writes no text") as caught:
        dispatch.choose(model("bert", form), WRITE)
    assert "%model_list" in caught.value.hint
    assert dispatch.choose(model("bert", "GGUF"), EMBED).backend == "llama_cpp"
    assert dispatch.choose(model("bert", "safetensors"), EMBED).backend == "torch_bert"


def test_a_translator_makes_no_vectors() -> None:
    with pytest.raises(RequestError, match="does not make vectors"):
        dispatch.choose(model("t5", "safetensors"), EMBED)


def test_what_nothing_runs() -> None:
    with pytest.raises(UnsupportedModel):
        dispatch.choose(model("whisper"), WRITE)
