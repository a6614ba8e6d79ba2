"""The memory that a model will take: held against llama.cpp's own figures and real workers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmspell_jupyter.engine.worker_process import WorkerProcess
from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models import gguf_need, gguf_reader, gguf_work, store
from llmspell_jupyter.models.estimate import estimate
from llmspell_jupyter.models.folder import ModelFolder
from llmspell_jupyter.models.gguf_reader import Items, Tensor, Walk
from llmspell_jupyter.models.need import Need, shared_tokens
from llmspell_jupyter.models.safetensors import TensorInfo
from llmspell_jupyter.models.safetensors_need import need as safetensors_need
from llmspell_jupyter.types import GenerationRequest, LoadOptions
from tests.support import llama_sizes
from tests.support.shaped_gguf import MODELS, write_shaped_gguf
from tests.support.tiny_gguf import write_tiny_gguf

MIB = 1024 * 1024

# context_size, batch_size, max_concurrent, cache_type, flash_attention
SETTINGS: list[tuple[int, int, int, Any, bool]] = [
    (512, 512, 1, "f16", True),
    (1000, 100, 1, "f16", True),
    (4096, 512, 1, "f16", True),
    (4096, 2048, 8, "f16", True),
    (4096, 64, 1, "f32", True),
    (4096, 512, 4, "q8_0", True),
    (4096, 512, 1, "f16", False),
]


def of(context: int, batch: int, texts: int, kind: Any, flash: bool) -> LoadOptions:
    return LoadOptions(
        context_size=context,
        batch_size=batch,
        max_concurrent=texts,
        cache_type=kind,
        flash_attention=flash,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="files there have no holes by themselves")
@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_says_the_same(tmp_path: Path, name: str) -> None:
    path = write_shaped_gguf(tmp_path / "model.gguf", MODELS[name])
    said = subprocess.run(
        [sys.executable, llama_sizes.__file__, str(path)],
        input=json.dumps([(shared_tokens(each[0], each[2]), *each[1:]) for each in SETTINGS]),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    shape = gguf_need.read_shape(gguf_reader.walk(path))
    nothing = gguf_need.need(replace(shape, vocabulary=0, width=0, inner=0), 0, of(*SETTINGS[2]))
    for setting, (context, working) in zip(SETTINGS, json.loads(said), strict=True):
        found = gguf_need.need(shape, path.stat().st_size, of(*setting))
        # To the hundredths that it prints, for each part of the context.
        assert found.context / MIB == pytest.approx(context, abs=0.02), setting
        beside = 70_000_000 + 512 * shape.vocabulary
        assert working <= (found.working - beside) / MIB <= 2.1 * working + 8, setting
        assert found.weights == path.stat().st_size - shape.header
    assert nothing.working < 100_000_000


@pytest.mark.parametrize(("context", "batch"), [(512, 64), (4096, 512)])
def test_a_real_worker_takes_no_more(context: int, batch: int) -> None:
    """Resident memory, mapped files included: at most the estimate and at least half of it."""
    model = store.resolve("smollm2:135m")
    # One thread: others would wait for each other on a busy machine.
    options = LoadOptions(context_size=context, batch_size=batch, cpu_threads=1)
    request = GenerationRequest(
        model=model.id, prompt="The sea is deep and blue. " * 20, max_tokens=3, options=options
    )

    async def measure() -> int:
        worker = WorkerProcess(model, "llama_cpp", options)
        worker.start()
        try:
            async for _ in worker.loading():
                pass
            async for _ in worker.answer("r1", request):
                pass
            assert worker.pid is not None
            return int(psutil.Process(worker.pid).memory_info().rss)
        finally:
            await worker.stop()

    taken = asyncio.run(measure())
    need = estimate(model, options, "llama_cpp")
    assert taken <= need.total <= 2 * taken, need


# Headers that no file here has


def walk(architecture: str, tensors: tuple[str, ...] = (), **keys: Any) -> Walk:
    """A header with these keys; dots in them are written as two underscores."""
    scalars: dict[str, Any] = {"general.architecture": architecture}
    lists = {}
    for name, value in keys.items():
        key = f"{architecture}.{name.replace('__', '.')}"
        if isinstance(value, list):
            lists[key] = Items(5, len(value), tuple(value))
        else:
            scalars[key] = value
    return Walk(scalars, lists, {name: Tensor((1,), 0, 0) for name in tensors}, 1000, 10**9)


LLAMA = {
    "block_count": 32,
    "embedding_length": 4096,
    "feed_forward_length": 14336,
    "attention__head_count": 32,
    "attention__head_count_kv": 8,
    "vocab_size": 128256,
    "context_length": 131072,
}


def context_of(header: Walk, **options: Any) -> int:
    shape = gguf_need.read_shape(header)
    options = {"context_size": 1024, "max_concurrent": 1} | options
    return gguf_need.need(shape, 10**9, LoadOptions(**options)).context


@pytest.mark.parametrize(
    ("changes", "options", "context"),
    [
        ({}, {}, 1024 * 32 * 8 * 256 * 2),
        # All texts share one context, which is at most twice that of one.
        ({}, {"max_concurrent": 8}, 2048 * 32 * 8 * 256 * 2),
        ({}, {"context_size": 8192, "max_concurrent": 3}, 10240 * 32 * 8 * 256 * 2),
        ({"rope__scaling__original_context_length": 1500}, {"max_concurrent": 8}, 1536 * 32 * 8 * 256 * 2),
        ({"rope__scaling__original_context_length": 500}, {"max_concurrent": 8}, 1024 * 32 * 8 * 256 * 2),
        ({}, {"cache_type": "q4_0"}, 1024 * 32 * 8 * 256 * 18 // 32),
        # Without grouped queries every head has keys of its own.
        ({"attention__head_count_kv": None}, {}, 1024 * 32 * 32 * 256 * 2),
        ({"attention__key_length": 192, "attention__value_length": 128}, {}, 1024 * 32 * 8 * 320 * 2),
        # Some layers remember nothing, and a list that is too short holds its largest number.
        ({"attention__head_count_kv": [0, 8] * 16}, {}, 1024 * 16 * 8 * 256 * 2),
        ({"attention__head_count_kv": [4] * 31}, {}, 1024 * 32 * 4 * 256 * 2),
        # llama.cpp keeps all tokens of layers with a sliding window, too.
        ({"attention__sliding_window": 128}, {}, 1024 * 32 * 8 * 256 * 2),
        # Nothing of an embedding model's text is remembered.
        ({"attention__causal": False}, {}, 0),
    ],
)  # fmt: skip
def test_the_context(changes: dict[str, Any], options: dict[str, Any], context: int) -> None:
    keys = {key: value for key, value in (LLAMA | changes).items() if value is not None}
    assert context_of(walk("llama", **keys), **options) == context


def test_layers_beyond_those_of_any_model_are_not_counted() -> None:
    header = walk("llama", **LLAMA | {"block_count": 2**40})
    assert context_of(header) == 1024 * 8 * 256 * 2
    work = gguf_work.of_header(header, gguf_need.read_shape(header), 10**9)
    assert work is not None and work.layers == 0


def test_layers_with_a_state_hold_no_cache() -> None:
    """As in a Qwen3-Next: one layer in four attends, the others have a state for each text."""
    keys = {"ssm__inner_size": 4096, "ssm__state_size": 128, "ssm__conv_kernel": 4}
    names = [
        f"blk.{layer}.{'attn_q' if layer % 4 == 3 else 'ssm_out'}.weight" for layer in range(32)
    ]
    header = walk("qwen3next", tuple(names), **LLAMA | keys)
    state = 4 * 32 * (4096 * 128 + 3 * 4096)
    assert context_of(header) == 1024 * 8 * 8 * 256 * 2 + state
    assert context_of(header, max_concurrent=3) == 2048 * 8 * 8 * 256 * 2 + 3 * state
    # What lies in further files may attend.
    assert context_of(walk("qwen3next", tuple(names[:4]), **LLAMA | keys)) > 1024 * 28 * 8 * 256 * 2


def test_the_context_is_what_the_model_was_trained_for_at_most(tmp_path: Path) -> None:
    model = store.resolve(str(write_tiny_gguf(tmp_path / "tiny.gguf", context=256)))
    sizes = {
        context: estimate(model, of(context, 512, 1, "f16", True), "llama_cpp").context
        for context in (0, 100, 256, 4096)
    }
    assert len(set(sizes.values())) == 1


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(MODELS)),
    st.integers(1, 200_000),
    st.integers(1, 4096),
    st.integers(1, 64),
    st.sampled_from(["f32", "f16", "q8_0", "q4_0"]),
    st.booleans(),
    st.sampled_from(["context_size", "batch_size", "max_concurrent"]),
    st.integers(1, 100_000),
)
def test_it_never_shrinks(
    name: str, context: int, batch: int, texts: int, kind: Any, flash: bool, which: str, more: int
) -> None:
    model = MODELS[name]
    keys = {key.replace(".", "__"): value for key, value in model.header().items()}
    shape = gguf_need.read_shape(walk(model.architecture, **keys))
    options = of(context, batch, texts, kind, flash)
    larger = replace(options, **{which: getattr(options, which) + more})
    small, large = (gguf_need.need(shape, 10**9, each) for each in (options, larger))
    assert small.weights == large.weights
    assert small.context <= large.context
    assert small.working <= large.working


NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64), st.booleans(), st.floats(allow_nan=True), st.text(max_size=3),
    st.lists(st.integers(-5, 2**64), max_size=4),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@example({"attention__head_count": [], "attention__head_count_kv": []})
@given(
    st.dictionaries(st.sampled_from([*LLAMA, "attention__key_length", "wkv__head_size"]), NUMBERS)
)
def test_any_header_has_a_need(keys: dict[str, Any]) -> None:
    # The number of layers is bounded where files are checked.
    keys = LLAMA | keys | {"block_count": 32}
    need = gguf_need.need(gguf_need.read_shape(walk("llama", **keys)), 10, LoadOptions())
    assert min(need.weights, need.context, need.working) >= 0


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    before = estimate(
        store.resolve(str(write_tiny_gguf(path, context=256))), LoadOptions(), "llama_cpp"
    )
    after = estimate(
        store.resolve(str(write_tiny_gguf(path, context=20480))), LoadOptions(), "llama_cpp"
    )
    assert after.context > before.context
    model = store.resolve(str(path))
    path.write_bytes(b"GGUF")
    with pytest.raises(BadModelFile):
        estimate(replace(model, size_bytes=4), LoadOptions(), "llama_cpp")


def test_a_model_without_files_takes_its_process() -> None:
    need = estimate(store.ECHO, LoadOptions(), "echo")
    assert (need.weights, need.context) == (0, 0)
    assert need.to_wire() == {
        "weights": 0,
        "context": 0,
        "working": need.total,
        "total": need.total,
    }


# Folders of safetensors


def folder(config: dict[str, Any], **tensors: tuple[int, ...]) -> ModelFolder:
    path = Path("model")
    found = {
        name.replace("__", "."): TensorInfo("BF16", shape, path, 0)
        for name, shape in tensors.items()
    }
    count = sum(each.size for each in found.values())
    return ModelFolder(path, "any", config, (path,), found, count, "BF16", 2 * count)


CAUSAL = folder(
    {
        "num_hidden_layers": 24,
        "hidden_size": 2048,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "intermediate_size": 8192,
        "vocab_size": 50_000,
        "max_position_embeddings": 8192,
    },
    weights=(1_000_000_000,),
)
T5 = folder(
    {"num_layers": 6, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_heads": 8, "vocab_size": 32_000},
    shared__weight=(32_000, 512),
    encoder__block__weight=(2048, 9_000),
    decoder__block__weight=(2048, 12_000),
    decoder__norm__weight=(512,),
)  # fmt: skip
SHARED, ENCODER, DECODER, NORM = 32_000 * 512, 2048 * 9_000, 2048 * 12_000, 512


@pytest.mark.parametrize(
    ("model", "backend", "dtype", "weights"),
    [
        # Whatever the files hold, a CPU computes in 32 bits if nobody says otherwise.
        (CAUSAL, "torch_causal", "auto", 4 * 10**9),
        (CAUSAL, "torch_causal", "bfloat16", 2 * 10**9),
        (CAUSAL, "torch_bert", "auto", 4 * 10**9),
        # torch's T5 keeps the head by columns beside the embedding.
        (T5, "torch_t5", "auto", 4 * (SHARED + ENCODER + DECODER + NORM + SHARED)),
        (T5, "torch_t5", "bfloat16", 2 * (SHARED + ENCODER + DECODER + NORM + SHARED)),
        (T5, "torch_t5", "int8", 4 * (SHARED + ENCODER + NORM) + DECODER + SHARED),
        (T5, "ctranslate2_t5", "auto", SHARED + ENCODER + DECODER + 4 * NORM),
        (T5, "ctranslate2_t5", "float32", 4 * (SHARED + ENCODER + DECODER + NORM)),
    ],
)
def test_weights_of_safetensors(model: ModelFolder, backend: str, dtype: Any, weights: int) -> None:
    assert safetensors_need(model, LoadOptions(dtype=dtype), backend).weights == weights


def test_answers_have_caches_that_share_what_one_may_fill_and_some_more() -> None:
    def need(**options: Any) -> Need:
        options = {"max_concurrent": 1} | options
        return safetensors_need(CAUSAL, LoadOptions(**options), "torch_causal")

    one = 2 * 24 * 4 * 128 * 4 * 1000
    assert need(context_size=1000).context == one
    assert need(context_size=1000, max_concurrent=3).context == 2 * one
    assert need(context_size=1000, dtype="bfloat16").context == one // 2
    assert need(context_size=100_000) == need(context_size=0) == need(context_size=8192)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([(CAUSAL, "torch_causal"), (CAUSAL, "torch_bert"), (T5, "torch_t5"), (T5, "ctranslate2_t5")]),
    st.integers(1, 20_000),
    st.integers(1, 4096),
    st.integers(1, 64),
    st.sampled_from(["auto", "bfloat16", "int8"]),
    st.sampled_from(["context_size", "batch_size", "max_concurrent"]),
    st.integers(1, 10_000),
)  # fmt: skip
def test_folders_never_shrink_either(
    which: tuple[ModelFolder, str], context: int, batch: int, texts: int, dtype: Any, field: str, more: int
) -> None:  # fmt: skip
    options = LoadOptions(context_size=context, batch_size=batch, max_concurrent=texts, dtype=dtype)
    larger = replace(options, **{field: getattr(options, field) + more})
    small, large = (safetensors_need(which[0], each, which[1]) for each in (options, larger))
    assert small.weights == large.weights
    assert small.context <= large.context
    assert small.working <= large.working


def test_a_folder_on_disk(tmp_path: Path) -> None:
    numpy_file = pytest.importorskip("safetensors.numpy")
    numpy_file.save_file({"a": np.zeros((100, 10), "f2")}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": 10}')
    need = estimate(store.resolve(str(tmp_path)), LoadOptions(), "torch_causal")
    assert need.weights == 4000
