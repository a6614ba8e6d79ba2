"""What is said of a model before it is fetched: the verdict from figures alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspell_jupyter.engine import messages
from llmspell_jupyter.models import catalog, fit, gguf_kinds, gguf_need, gguf_work, known
from llmspell_jupyter.models.fit import Space, Subject
from llmspell_jupyter.models.need import Need
from llmspell_jupyter.types import Fit, LoadOptions, Speed

GB = 1_000_000_000


def subject(
    weights: int = 4 * GB, cell: int = 100_000, trained: int = 32_768, **rest: Any
) -> Subject:
    return Subject(
        model="m",
        quantization="Q4_K_M",
        size_bytes=weights,
        trained=trained,
        need=lambda tokens: Need(weights, cell * tokens, 0),
        source="catalog",
        **rest,
    )  # fmt: skip


def judge(
    model: Subject, free: int, *, context: int = 4096, speed: Speed | None = None, **space: Any
) -> Fit:
    return fit.judge(model, Space(free, "on this machine", **space), context, "cpu", speed, "note")


@pytest.mark.parametrize(
    ("free", "space", "speed", "disk", "light", "largest", "says"),
    [
        (8 * GB, {}, None, 0, "green", 32_768, "needs 4.5 GB of memory; 8.0 GB are free on this"),
        (8 * GB, {}, 3.0, 0, "green", 32_768, "needs 4.5 GB"),
        (8 * GB, {}, 2.9, 0, "amber", 32_768, "It would write 2.9 tokens a second."),
        # Rounded so that what is needed and what is free never look alike.
        (4_409_600_000, {}, None, 0, "green", 4096, "needs 4.5 GB of memory; 4.4 GB are free"),
        (4_409_599_999, {}, None, 0, "amber", 3840, "It fits with 3,840 tokens of context."),
        (4_300_000_000, {}, None, 0, "amber", 2816, "It fits with 2,816 tokens of context."),
        (4_000_000_000, {}, None, 0, "red", None, "needs 4.5 GB of memory; 4.0 GB are free"),
        (3 * GB, {"idle": 2 * GB}, None, 0, "amber", 9984, "once idle models leave"),
        (3 * GB, {"idle": GB}, None, 0, "red", None, "and 1.0 GB more once idle models leave"),
        (9 * GB, {"most": 3 * GB, "most_by": "ulimit -v"}, None, 0, "red", None, "3.0 GB at most (ulimit -v)"),
        (9 * GB, {"disk": 4 * GB}, None, 4 * GB, "green", 32_768, "needs"),
        (9 * GB, {"disk": 4 * GB - 1}, None, 4 * GB, "red", 32_768, "the disk has 3.9 GB left"),
        (9 * GB, {"disk": 1, "idle": 1}, 1.0, 4 * GB, "red", 32_768, "the disk has 0 MB left"),
        (8 * GB, {"unjudged": "it may go to a GPU"}, None, 0, "green", 32_768, "Judged as for the CPU: it may"),
    ],
)  # fmt: skip
def test_the_light(
    free: int,
    space: dict[str, Any],
    speed: float | None,
    disk: int,
    light: str,
    largest: int | None,
    says: str,
) -> None:
    expected = Speed(speed / 2, speed, speed * 2) if speed else None
    found = judge(subject(disk_need=disk), free, speed=expected, **space)
    assert (found.light, found.largest_context) == (light, largest)
    assert says in "\n".join(found.reasons)
    assert found.need == 4_409_600_000
    assert found.speed == expected


@pytest.mark.parametrize(
    ("trained", "context", "wanted", "lengths"),
    [
        (8192, 4096, 4096, [2048, 4096, 8192]),
        (8192, 3000, 3000, [2048, 3000, 4096, 8192]),
        (8192, 0, 8192, [2048, 4096, 8192]),
        (512, 4096, 512, [512]),
        (10_000, 4096, 4096, [2048, 4096, 8192, 10_000]),
        (0, 4096, 4096, [2048, 4096, 8192, 16_384, 32_768]),
        (0, 40_000, 40_000, [2048, 4096, 8192, 16_384, 32_768, 40_000]),
    ],
)
def test_lengths_of_context(trained: int, context: int, wanted: int, lengths: list[int]) -> None:
    found = judge(subject(trained=trained), 100 * GB, context=context)
    assert found.context == wanted
    assert [each.context for each in found.contexts] == lengths


@given(st.integers(0, 12 * GB), st.integers(0, 12 * GB), st.integers(1, 200_000))
def test_the_largest_context_is_the_largest(free: int, idle: int, trained: int) -> None:
    model = subject(trained=trained)
    found = judge(model, free, idle=idle, context=trained)
    largest = found.largest_context
    if largest is None:
        assert model.need(min(256, trained)).total > free + idle
    else:
        assert model.need(largest).total <= free + idle
        assert largest == trained or model.need(min(trained, largest + 256)).total > free + idle
    assert all(each.fits == (each.need <= free + idle) for each in found.contexts)


def test_it_goes_over_the_wire() -> None:
    found = judge(subject(), 8 * GB, speed=Speed(1, 2, 3, full=1.5, prompt=20))
    assert messages.fit_from_wire(json.loads(json.dumps(asdict(found)))) == found


# What a catalog tells


@pytest.mark.parametrize("name", sorted(catalog.models()))
def test_every_entry_of_the_catalog_can_be_judged(name: str) -> None:
    entry = catalog.models()[name]
    for quantization in entry.files:
        told = known.of_catalog(entry, quantization)
        assert told is not None
        need = told.need(LoadOptions(), "llama_cpp" if entry.format == "GGUF" else "torch_causal")
        assert need.total > 0.5 * told.info.size_bytes
        if entry.format == "GGUF" and "generate" in entry.tasks:
            assert told.work is not None, quantization
            read = sum(told.work.kinds.values())
            # What is read for a token is all of it but the table of tokens, about.
            assert 0.55 * told.info.size_bytes < read < 1.25 * told.info.size_bytes, quantization


def test_kinds_are_ggmls() -> None:
    gguf = pytest.importorskip("gguf")
    for kind in gguf_kinds.KINDS.values():
        assert gguf.GGMLQuantizationType[kind.name] == kind.number
        assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind.number)] == (
            kind.block,
            kind.block_bytes,
        )


def test_a_model_reads_its_head_once_and_its_experts_in_part() -> None:
    from llmspell_jupyter.models.gguf_reader import Tensor, Walk

    number = gguf_kinds.KINDS["F16"].number
    tensors = {
        "token_embd.weight": Tensor((64, 1000), number, 0),
        "blk.0.attn_q.weight": Tensor((64, 64), number, 0),
        "blk.0.ffn_up_exps.weight": Tensor((64, 128, 8), number, 0),
        "output_norm.weight": Tensor((64,), 0, 0),
    }
    scalars = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.expert_count": 8,
        "llama.expert_used_count": 2,
    }
    walk = Walk(scalars, {}, tensors, 100, 1000)
    work = gguf_work.of_header(walk, gguf_need.read_shape(walk), 1000)
    assert work is not None
    inner = 2 * (64 * 64 + 64 * 128 * 2)
    assert work.inner == {"F16": inner}
    assert work.kinds == {"F16": inner + 2 * 64 * 1000}
    apart = Walk(scalars, {}, tensors | {"output.weight": Tensor((64, 1000), 2, 0)}, 100, 1000)
    work = gguf_work.of_header(apart, gguf_need.read_shape(apart), 1000)
    assert work is not None
    assert work.kinds == {"F16": inner, "Q4_0": 1000 * 36}
    strange = Walk(scalars, {}, {"x": Tensor((64, 64), 9999, 0)}, 100, 1000)
    assert gguf_work.of_header(strange, gguf_need.read_shape(strange), 1000) is None


def test_every_head_multiplies_with_the_text_so_far() -> None:
    from llmspell_jupyter.models.gguf_reader import Walk

    scalars = {
        "general.architecture": "llama",
        "llama.block_count": 3,
        "llama.embedding_length": 256,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 1,
    }
    shape = gguf_need.read_shape(Walk(scalars, {}, {}, 100, 1000))
    assert shape.cell == 3 * 2 * 64
    assert shape.attention == 3 * 4 * 2 * 64
    plain = gguf_need.plain_shape(
        layers=3, width=256, inner=256, heads=4, key_heads=1, head=64, vocabulary=9, trained=0
    )
    assert (plain.cell, plain.attention) == (shape.cell, shape.attention)
