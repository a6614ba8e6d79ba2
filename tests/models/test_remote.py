"""The heads of models on the hub: read without the rest, judged as the files would be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmspell_jupyter.errors import BadModelFile, ModelNotFound, Unreachable
from llmspell_jupyter.models import known, remote, store
from llmspell_jupyter.types import LoadOptions, PullRequest, Sources
from tests.support import hub_server
from tests.support.shaped_gguf import Shaped, write_shaped_gguf

MIB = 1024 * 1024

SHAPE = Shaped("llama", 8, 1024, 2816, 16, 4, 32_000, 131_072)


@pytest.fixture
def hub() -> Iterator[hub_server.Hub]:
    with hub_server.hub() as made:
        yield made


def look(hub: hub_server.Hub, name: str) -> known.Known:
    return remote.look(PullRequest(name, sources=hub.sources()))


def test_a_header_is_read_and_no_more(hub: hub_server.Hub, tmp_path: Path) -> None:
    path = write_shaped_gguf(tmp_path / "llama-Q4_K_M.gguf", SHAPE)
    assert path.stat().st_size > 50 * MIB
    hub.add("acme/llama", {path.name: path})
    found = look(hub, "hf.co/acme/llama:Q4_K_M")
    assert (found.source, found.info.quantization) == ("remote header", "Q4_K_M")
    assert (found.info.architecture, found.info.context_length) == ("llama", 131_072)
    assert found.disk_need == found.info.size_bytes == path.stat().st_size
    # Its header is shorter than the megabyte that is read at a time.
    assert hub.bytes_served < 2 * MIB
    # It is judged as it will be once it is here.
    here = known.of_files(store.resolve(str(path)))
    assert found.work == here.work
    for context in (2048, 131_072):
        options = LoadOptions(context_size=context)
        assert found.need(options, "llama_cpp") == here.need(options, "llama_cpp")


def test_a_header_is_read_once(hub: hub_server.Hub, tmp_path: Path) -> None:
    path = write_shaped_gguf(tmp_path / "m-Q4_0.gguf", SHAPE)
    hub.add("acme/once", {path.name: path})
    first = look(hub, "acme/once")
    ranged = [each for each in hub.requests if "resolve" in each.path and each.method == "GET"]
    assert look(hub, "acme/once").work == first.work
    again = [each for each in hub.requests if "resolve" in each.path and each.method == "GET"]
    assert len(again) == len(ranged) > 0


def test_a_damaged_header_is_named(hub: hub_server.Hub) -> None:
    hub.add("acme/bad", {"bad-Q4_0.gguf": b"GGUF" + b"\xff" * 5000})
    with pytest.raises(BadModelFile, match=r"bad-Q4_0\.gguf"):
        look(hub, "acme/bad")


def test_safetensors_are_judged_by_their_configuration(hub: hub_server.Hub) -> None:
    config = b"""{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 100, "torch_dtype": "bfloat16",
        "max_position_embeddings": 512}"""
    hub.add("acme/tensors", {"config.json": config, "model.safetensors": bytes(2_000_000)})
    found = look(hub, "acme/tensors")
    assert (found.info.architecture, found.info.format) == ("llama", "safetensors")
    assert found.need(LoadOptions(), "torch_causal").weights == 4 * 1_000_000
    assert found.work is None
    assert hub.bytes_served < 200_000


@pytest.mark.parametrize("config", [b"[]", b"{", b"\xff"])
def test_without_one_the_size_tells(hub: hub_server.Hub, config: bytes) -> None:
    hub.add(
        f"acme/none{len(config)}{config[0]}",
        {"config.json": config, "model.safetensors": bytes(3_000_000)},
    )
    found = look(hub, f"acme/none{len(config)}{config[0]}")
    assert found.source == "size"
    assert found.need(LoadOptions(), "torch_causal").weights == 6_000_000


def test_nobody_is_asked_offline() -> None:
    with pytest.raises(Unreachable):
        remote.look(PullRequest("acme/any", sources=Sources(offline=True)))


def test_what_is_not_there_is_not_found(hub: hub_server.Hub) -> None:
    with pytest.raises(ModelNotFound):
        look(hub, "acme/nothing")
