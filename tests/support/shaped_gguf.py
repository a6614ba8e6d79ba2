"""Writes GGUF files with the header of a large model and holes for weights: they take no room."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np

_KIND = gguf.GGMLQuantizationType.Q4_K
_ALIGNMENT = 32

Shapes = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Shaped:
    """A model's shape; ``more`` are further keys of its header."""

    architecture: str
    layers: int
    width: int
    inner: int
    heads: int
    key_heads: int | list[int]
    vocabulary: int
    context: int
    head: int = 0
    experts: int = 0
    norms: tuple[str, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)

    def header(self) -> dict[str, Any]:
        keys: dict[str, Any] = {
            "block_count": self.layers,
            "embedding_length": self.width,
            "feed_forward_length": self.inner,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.key_heads,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "vocab_size": self.vocabulary,
            "context_length": self.context,
        }
        if self.head:
            keys |= {"attention.key_length": self.head, "attention.value_length": self.head}
        return keys | self.more

    def tensors(self) -> Shapes:
        yield "token_embd.weight", (self.vocabulary, self.width)
        for layer in range(self.layers):
            parts = self._recurrent() if "ssm.inner_size" in self.more else self._attention()
            yield from ((f"blk.{layer}.{name}", shape) for name, shape in parts)
        yield "output_norm.weight", (self.width,)
        if not self.architecture.startswith("gemma"):  # They read and write with one table.
            yield "output.weight", (self.vocabulary, self.width)

    def _attention(self) -> Shapes:
        width, inner, head = self.width, self.inner, self.head or self.width // self.heads
        assert isinstance(self.key_heads, int)
        yield "attn_norm.weight", (width,)
        yield "attn_q.weight", (self.heads * head, width)
        yield "attn_k.weight", (self.key_heads * head, width)
        yield "attn_v.weight", (self.key_heads * head, width)
        yield "attn_output.weight", (width, self.heads * head)
        yield "ffn_norm.weight", (width,)
        for norm in self.norms:
            yield norm, (width if norm.startswith("post") else head,)
        if self.experts:
            yield "ffn_gate_inp.weight", (self.experts, width)
        end, stack = ("_exps.weight", (self.experts,)) if self.experts else (".weight", ())
        yield f"ffn_gate{end}", (*stack, inner, width)
        yield f"ffn_up{end}", (*stack, inner, width)
        yield f"ffn_down{end}", (*stack, width, inner)

    def _recurrent(self) -> Shapes:
        inner, state = self.more["ssm.inner_size"], self.more["ssm.state_size"]
        rank, window = self.more["ssm.time_step_rank"], self.more["ssm.conv_kernel"]
        yield "attn_norm.weight", (self.width,)
        yield "ssm_in.weight", (2 * inner, self.width)
        yield "ssm_conv1d.weight", (inner, window)
        yield "ssm_conv1d.bias", (inner,)
        yield "ssm_x.weight", (rank + 2 * state, inner)
        yield "ssm_dt.weight", (inner, rank)
        yield "ssm_dt.bias", (inner,)
        yield "ssm_a", (inner, state)
        yield "ssm_d", (inner,)
        yield "ssm_out.weight", (self.width, inner)


_GEMMA = ("post_attention_norm.weight", "post_ffw_norm.weight")
_GEMMA3 = (*_GEMMA, "attn_q_norm.weight", "attn_k_norm.weight")
_MAMBA = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 5120,
    "ssm.state_size": 16,
    "ssm.time_step_rank": 160,
}

#: Shapes of published models, as their headers give them.
MODELS = {
    "llama2-7b": Shaped("llama", 32, 4096, 11008, 32, 32, 32000, 4096),
    "llama3-8b": Shaped("llama", 32, 4096, 14336, 32, 8, 128256, 131072),
    "llama3-70b": Shaped("llama", 80, 8192, 28672, 64, 8, 128256, 131072),
    "mixtral-8x7b": Shaped(
        *("llama", 32, 4096, 14336, 32, 8, 32000, 32768),
        experts=8,
        more={"expert_count": 8, "expert_used_count": 2},
    ),
    "gemma2-9b": Shaped(
        *("gemma2", 42, 3584, 14336, 16, 8, 256000, 8192, 256),
        norms=_GEMMA,
        more={"attention.sliding_window": 4096},
    ),
    "gemma3-4b": Shaped(
        *("gemma3", 34, 2560, 10240, 8, 4, 262208, 131072, 256),
        norms=_GEMMA3,
        more={"attention.sliding_window": 1024},
    ),
    "mamba-2.8b": Shaped("mamba", 64, 2560, 0, 0, 0, 50280, 1048576, more=_MAMBA),
}


def write_shaped_gguf(path: Path, model: Shaped) -> Path:
    """Write the model's header, and holes where its weights would be."""
    writer = gguf.GGUFWriter(str(path), model.architecture)
    for name, value in model.header().items():
        key = f"{model.architecture}.{name}"
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    writer.add_tokenizer_model("no_vocab")
    size = 0
    for name, shape in model.tensors():
        size += -(-_add(writer, name, shape) // _ALIGNMENT) * _ALIGNMENT
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    header = -(-path.stat().st_size // _ALIGNMENT) * _ALIGNMENT
    os.truncate(path, header + size)
    return path


def _add(writer: gguf.GGUFWriter, name: str, shape: tuple[int, ...]) -> int:
    numbers, block = math.prod(shape), gguf.GGML_QUANT_SIZES[_KIND]
    if len(shape) == 1 or shape[-1] % block[0]:
        writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * numbers)
        return 4 * numbers
    size = numbers // block[0] * block[1]
    row = (*shape[:-1], shape[-1] // block[0] * block[1])
    writer.add_tensor_info(name, row, np.dtype(np.uint8), size, raw_dtype=_KIND)
    return size
