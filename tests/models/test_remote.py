"""The heads of models on the hub: read without the rest, judged as the files would be."""

from __future__ import annotations

import math
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmspell_jupyter.errors import BadModelFile, ModelNotFound, Unreachable
from llmspell_jupyter.models import known, remote, store
from llmspell_jupyter.types import LoadOptions, PullRequest, Sources
from tests.support import hub_server
from tests.support.clock import at_once
from tests.support.shaped_gguf import Shaped, write_shaped_gguf
from tests.support.tiny_gguf import write_tiny_gguf

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


def test_endings_may_be_of_any_case(hub: hub_server.Hub, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "M-F32.GGUF")
    hub.add("acme/capitals", {path.name: path})
    assert look(hub, "acme/capitals").info.architecture == "llama"


def test_a_damaged_header_is_named(hub: hub_server.Hub) -> None:
    hub.add("acme/bad", {"bad-Q4_0.gguf": b"GGUF" + b"\xff" * 5000})
    with pytest.raises(BadModelFile, match=r"bad-Q4_0\.gguf"):
        look(hub, "acme/bad")


def claim(**numbers: int) -> bytes:
    """A GGUF header of a few bytes with these numbers of 64 bits, and one tensor."""
    entries = [_text("general.architecture") + struct.pack("<I", 8) + _text("llama")]
    entries += [
        _text(f"llama.{name.replace('__', '.')}") + struct.pack("<IQ", 10, value)
        for name, value in numbers.items()
    ]
    tensor = _text("t") + struct.pack("<IQIQ", 1, 2, 0, 0)
    return b"GGUF" + struct.pack("<IQQ", 3, 1, len(entries)) + b"".join(entries) + tensor


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


CLAIMS = {
    "layers": {"block_count": 4_000_000},
    "layers that no memory holds": {"block_count": 2**40},
    "heads": {"block_count": 2, "attention__head_count": 2**40},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_m4_a_huge_claim_is_refused_at_once(hub: hub_server.Hub, name: str) -> None:
    repository = f"acme/claims-{[*CLAIMS].index(name)}"
    hub.add(repository, {"m-Q4_0.gguf": claim(**CLAIMS[name])})
    hub.add("acme/first", {"m-Q4_0.gguf": claim(block_count=2)})
    look(hub, "acme/first")  # Libraries are loaded by the first.
    tracemalloc.start()
    try:
        with at_once(), pytest.raises(BadModelFile, match=r"m-Q4_0\.gguf.*it must be"):
            look(hub, repository)
        assert tracemalloc.get_traced_memory()[1] < 10 * MIB
    finally:
        tracemalloc.stop()


def test_what_a_pull_would_refuse_is_refused(hub: hub_server.Hub, tmp_path: Path) -> None:
    nameless = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
    hub.add("acme/nameless", {"m-Q4_0.gguf": nameless})
    with pytest.raises(BadModelFile, match="does not say its architecture"):
        look(hub, "acme/nameless")
    wrong = write_tiny_gguf(
        tmp_path / "wrong-F32.gguf",
        change=lambda writer: writer.add_array("tokenizer.ggml.merges", [1, 2, 3]),
    )
    hub.add("acme/wrong", {wrong.name: wrong})
    with pytest.raises(BadModelFile, match="merges is no list of texts"):
        look(hub, "acme/wrong")


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


@pytest.mark.parametrize("config", [b"[]", b"{", b"\xff", b"[" * 100_000])
def test_without_one_the_size_tells(hub: hub_server.Hub, config: bytes) -> None:
    hub.add(
        f"acme/none{len(config)}{config[0]}",
        {"config.json": config, "model.safetensors": bytes(3_000_000)},
    )
    found = look(hub, f"acme/none{len(config)}{config[0]}")
    assert found.source == "size"
    assert found.need(LoadOptions(), "torch_causal").weights == 6_000_000


def test_no_number_of_a_configuration_is_too_large(hub: hub_server.Hub) -> None:
    config = b'{"model_type": "llama", "vocab_size": 1%s, "num_hidden_layers": 2}' % (b"0" * 400)
    hub.add("acme/large", {"config.json": config, "model.safetensors": bytes(2_000_000)})
    assert math.isfinite(float(look(hub, "acme/large").need(LoadOptions(), "torch_causal").total))


def test_nobody_is_asked_offline() -> None:
    with pytest.raises(Unreachable):
        remote.look(PullRequest("acme/any", sources=Sources(offline=True)))


def test_what_is_not_there_is_not_found(hub: hub_server.Hub) -> None:
    with pytest.raises(ModelNotFound):
        look(hub, "acme/nothing")
