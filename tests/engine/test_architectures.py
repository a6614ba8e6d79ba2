"""What a model is, from what its files say."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from llmspell_jupyter.engine import architectures
from llmspell_jupyter.errors import UnsupportedModel
from llmspell_jupyter.models import store
from llmspell_jupyter.types import ModelInfo
from tests.support.tiny_gguf import write_tiny_gguf
from tests.support.tiny_safetensors import write_tiny_folder

ALL = architectures.all_architectures()
BY_NAME = {each.name: each for each in ALL}
FOLDER = Path(architectures.__file__).parent


def model(architecture: str | None, form: str) -> ModelInfo:
    return ModelInfo("m", "candle", Path("/m"), form, 1, 1, architecture)


def test_the_file_name_is_the_name() -> None:
    files = {path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_")}
    assert set(BY_NAME) == files and len(ALL) == len(files)
    assert {"llama", "qwen", "gemma", "phi", "mistral", "gpt2", "t5", "bert", "echo"} <= files


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.name)
def test_an_architecture_is_whole_and_frozen(each: architectures.ModelArchitecture) -> None:
    assert each.tasks and each.types and all(each.types.values())
    assert set(each.formats) <= set(each.types) and all(each.backends.values())
    with pytest.raises(FrozenInstanceError):
        each.name = "x"  # type: ignore[misc]
    gpu = each.name != "echo"
    assert each.supports_metal is each.supports_cuda is gpu


def test_no_type_belongs_to_two() -> None:
    seen: dict[tuple[str, str], str] = {}
    for each in ALL:
        for form, types in each.types.items():
            for name in types:
                assert seen.setdefault((form, name), each.name) == each.name, name


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.name)
def test_every_type_is_found(each: architectures.ModelArchitecture) -> None:
    for form in each.formats:
        for name in each.types[form]:
            assert architectures.detect(model(name, form)) is each


@pytest.mark.parametrize(
    ("name", "form", "family"),
    [
        *(("llama", "GGUF", "llama"), ("qwen3", "GGUF", "qwen"), ("gemma3", "GGUF", "gemma")),
        *(("phi3", "GGUF", "phi"), ("bert", "GGUF", "bert"), ("gpt2", "GGUF", "gpt2")),
        *(("t5", "safetensors", "t5"), ("mt5", "safetensors", "t5"), ("umt5", "safetensors", "t5")),
        *(("bert", "safetensors", "bert"), ("xlm-roberta", "safetensors", "bert")),
        *(("qwen2", "safetensors", "qwen"), ("gpt_neox", "safetensors", "gpt2")),
    ],
)
def test_families(name: str, form: str, family: str) -> None:
    assert architectures.detect(model(name, form)).name == family


@pytest.mark.parametrize("name", ["t5", "t5encoder"])
def test_t5_in_gguf_is_known_for_what_it_is(name: str) -> None:
    with pytest.raises(UnsupportedModel, match="T5 in GGUF") as caught:
        architectures.detect(model(name, "GGUF"))
    assert "safetensors" in caught.value.message and "config.json" in caught.value.hint
    assert caught.value.data == {"path": "/m", "found": name, "format": "GGUF"}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(("whisper", "GGUF"), ("clip", "GGUF"), ("whisper", "safetensors"), (None, "GGUF")),
        # Known in the other format only.
        *(("phi", "GGUF"), ("phi2", "safetensors"), ("t5encoder", "safetensors")),
        # Neither of them continues a text word by word.
        *(("llada", "GGUF"), ("dream", "GGUF")),
    ],
)
def test_what_nothing_runs_is_named_with_what_is_supported(name: str | None, form: str) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        architectures.detect(model(name, form))
    assert repr(name) in caught.value.message and form in caught.value.message
    for known in ("GGUF: ", "safetensors: ", "llama", "qwen", "t5", "bert"):
        assert known in caught.value.hint
    assert "echo" not in caught.value.hint


def test_from_files_to_architecture(tmp_path: Path) -> None:
    found = {}
    for kind in ("llama", "bert"):
        path = write_tiny_gguf(tmp_path / f"{kind}.gguf", kind=kind)
        found[f"{kind} GGUF"] = architectures.detect(store.resolve(str(path))).name
    for kind in ("t5", "bert", "llama"):
        path = write_tiny_folder(tmp_path / kind, kind=kind)
        found[f"{kind} folder"] = architectures.detect(store.resolve(str(path))).name
    assert found == {name: name.split()[0] for name in found} and len(found) == 5
    with pytest.raises(UnsupportedModel, match="T5 in GGUF"):
        architectures.detect(store.resolve(str(write_tiny_gguf(tmp_path / "t5.gguf", kind="t5"))))


def test_types_are_those_of_transformers() -> None:
    """A type that torch_causal is to run is one of its causal models, and so on."""
    from transformers.models.auto import modeling_auto as auto

    known = {
        "torch_causal": auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "torch_bert": auto.MODEL_MAPPING_NAMES,
        "torch_t5": auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    }
    for each in ALL:
        for name in each.types.get("safetensors", ()):
            assert name in known[each.backends["safetensors"][-1]], name


def test_the_name_of_a_model_says_nothing() -> None:
    info = replace(model("t5", "safetensors"), id="llama-3:8b", path=Path("/models/gpt2.gguf"))
    assert architectures.detect(info).name == "t5"
