"""Writes tiny model folders of ``config.json`` and safetensors with random weights.

Neither torch nor safetensors is needed. From a shell:
``python tiny_safetensors.py FOLDER [--kind t5|bert|llama] [--shards N] [--dtype F32|F16|BF16]``.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_WIDTH, _HEADS, _INNER, _LAYERS, _WORDS = 32, 4, 64, 2, 384

#: A ``config.json`` for each kind.
CONFIGS: dict[str, dict[str, Any]] = {
    "t5": {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "d_model": _WIDTH,
        "d_kv": _WIDTH // _HEADS,
        "d_ff": _INNER,
        "num_layers": _LAYERS,
        "num_decoder_layers": _LAYERS,
        "num_heads": _HEADS,
        "vocab_size": _WORDS,
        "n_positions": 512,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "dropout_rate": 0.0,
        "is_encoder_decoder": True,
        "tokenizer_class": "ByT5Tokenizer",
    },
    "bert": {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": _WIDTH,
        "intermediate_size": _INNER,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "vocab_size": _WORDS,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "pad_token_id": 0,
    },
    "llama": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": _WIDTH,
        "intermediate_size": _INNER,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": 2,
        "vocab_size": _WORDS,
        "max_position_embeddings": 256,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    },
}

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def write_tiny_folder(
    folder: Path,
    *,
    kind: str = "t5",
    shards: int = 1,
    dtype: str = "F32",
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Write a model of about 200 KB that transformers can load.

    Args:
        folder: Folder to make.
        kind: ``t5``, ``bert`` or ``llama``.
        shards: Files to spread the weights over; above 1 there is an index, too.
        dtype: ``F32``, ``F16`` or ``BF16``.
        config: Added to ``config.json``; a value None is as any other.
        seed: Of the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath("config.json").write_text(json.dumps(CONFIGS[kind] | dict(config or {})))
    random = np.random.default_rng(seed)
    tensors = {
        name: np.ones(shape) if "norm" in name.lower() else random.normal(0, 0.3, shape)
        for name, shape in {"t5": _t5, "bert": _bert, "llama": _llama}[kind]()
    }
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors, dtype=dtype)
        return folder
    names = list(tensors)
    weight_map = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[number::shards]
        weight_map |= dict.fromkeys(part, file)
        write_safetensors(folder / file, {name: tensors[name] for name in part}, dtype=dtype)
    folder.joinpath("model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
    )
    return folder


def write_safetensors(
    path: Path, tensors: Mapping[str, np.ndarray[Any, Any]], *, dtype: str = "F32"
) -> Path:
    """Write tensors as 32-bit, 16-bit or brain floating-point numbers."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in tensors.items():
        raw = _bytes(tensor, dtype)
        header[name] = {
            "dtype": dtype,
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    path.write_bytes(joined(json.dumps(header).encode(), data))
    return path


def joined(header: bytes, data: bytes = b"") -> bytes:
    """A safetensors file of a header and the data behind it."""
    return struct.pack("<Q", len(header)) + header + data


def _bytes(tensor: np.ndarray[Any, Any], dtype: str) -> bytes:
    if dtype == "BF16":
        # The upper half of a 32-bit number.
        return (tensor.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return tensor.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def _t5() -> Shapes:
    yield "shared.weight", (_WORDS, _WIDTH)
    for side in ("encoder", "decoder"):
        parts = ["SelfAttention"] + (["EncDecAttention"] if side == "decoder" else [])
        for layer in range(_LAYERS):
            block = f"{side}.block.{layer}.layer"
            for number, part in enumerate(parts):
                yield f"{block}.{number}.layer_norm.weight", (_WIDTH,)
                for each in "qkvo":
                    yield f"{block}.{number}.{part}.{each}.weight", (_WIDTH, _WIDTH)
            if layer == 0:
                bias = f"{block}.0.SelfAttention.relative_attention_bias.weight"
                yield bias, (32, _HEADS)
            last = f"{block}.{len(parts)}"
            yield f"{last}.layer_norm.weight", (_WIDTH,)
            yield f"{last}.DenseReluDense.wi_0.weight", (_INNER, _WIDTH)
            yield f"{last}.DenseReluDense.wi_1.weight", (_INNER, _WIDTH)
            yield f"{last}.DenseReluDense.wo.weight", (_WIDTH, _INNER)
        yield f"{side}.final_layer_norm.weight", (_WIDTH,)
    yield "lm_head.weight", (_WORDS, _WIDTH)


def _bert() -> Shapes:
    yield "embeddings.word_embeddings.weight", (_WORDS, _WIDTH)
    yield "embeddings.position_embeddings.weight", (64, _WIDTH)
    yield "embeddings.token_type_embeddings.weight", (2, _WIDTH)
    yield from _with_bias("embeddings.LayerNorm", (_WIDTH,))
    for layer in range(_LAYERS):
        block = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            yield from _with_bias(f"{block}.attention.{part}", (_WIDTH, _WIDTH))
        yield from _with_bias(f"{block}.attention.output.LayerNorm", (_WIDTH,))
        yield from _with_bias(f"{block}.intermediate.dense", (_INNER, _WIDTH))
        yield from _with_bias(f"{block}.output.dense", (_WIDTH, _INNER))
        yield from _with_bias(f"{block}.output.LayerNorm", (_WIDTH,))
    yield from _with_bias("pooler.dense", (_WIDTH, _WIDTH))


def _with_bias(name: str, shape: tuple[int, ...]) -> Shapes:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _llama() -> Shapes:
    yield "model.embed_tokens.weight", (_WORDS, _WIDTH)
    for layer in range(_LAYERS):
        block = f"model.layers.{layer}"
        yield f"{block}.input_layernorm.weight", (_WIDTH,)
        for part, rows in (("q", _WIDTH), ("k", _WIDTH // 2), ("v", _WIDTH // 2), ("o", _WIDTH)):
            yield f"{block}.self_attn.{part}_proj.weight", (rows, _WIDTH)
        yield f"{block}.post_attention_layernorm.weight", (_WIDTH,)
        yield f"{block}.mlp.gate_proj.weight", (_INNER, _WIDTH)
        yield f"{block}.mlp.up_proj.weight", (_INNER, _WIDTH)
        yield f"{block}.mlp.down_proj.weight", (_WIDTH, _INNER)
    yield "model.norm.weight", (_WIDTH,)
    yield "lm_head.weight", (_WORDS, _WIDTH)


def main() -> None:
    """Write a model as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=sorted(CONFIGS), default="t5")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--dtype", choices=["F32", "F16", "BF16"], default="F32")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write_tiny_folder(
        given.folder, kind=given.kind, shards=given.shards, dtype=given.dtype, seed=given.seed
    )


if __name__ == "__main__":
    main()
