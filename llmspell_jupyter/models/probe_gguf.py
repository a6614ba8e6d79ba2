"""Writes a GGUF model that only serves to measure a machine: a real shape, and no meaning."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, BinaryIO

from llmspell_jupyter.models.gguf_kinds import Kind

_ALIGNMENT = 32
_U32, _F32, _BOOL, _STRING, _ARRAY, _I32 = 4, 6, 7, 8, 9, 5

# Kinds of tokens: unknown, control, byte, normal.
_UNKNOWN, _CONTROL, _BYTE, _NORMAL = 2, 3, 6, 1

_PATTERN = 1 << 20
_ONE = struct.pack("<f", 1)
_SMALL_16 = bytes(0x0C + byte % 16 for byte in range(256))
_SMALL_32 = bytes(0x3C + byte % 2 + 128 * (byte > 127) for byte in range(256))

#: Fewest tokens of a vocabulary: the special ones and all bytes.
FEWEST_TOKENS = 259


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a LLaMA.

    Attributes:
        layers: Its layers.
        width: Numbers of a token between them; a multiple of 256.
        inner: The same inside the feed-forward part; a multiple of 256.
        heads: Heads of attention; each has 64 numbers or more.
        key_heads: Heads of keys and values.
        vocabulary: Tokens, ``FEWEST_TOKENS`` at least.
        context: Tokens that it is said to be trained for.
    """

    layers: int
    width: int = 1024
    inner: int = 2816
    heads: int = 16
    key_heads: int = 4
    vocabulary: int = 512
    context: int = 4096

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and lengths of all tensors, the fastest length first."""
        keys = self.width // self.heads * self.key_heads
        yield "token_embd.weight", (self.width, self.vocabulary)
        for layer in range(self.layers):
            for name, shape in (
                ("attn_norm", (self.width,)),
                ("attn_q", (self.width, self.width)),
                ("attn_k", (self.width, keys)),
                ("attn_v", (self.width, keys)),
                ("attn_output", (self.width, self.width)),
                ("ffn_norm", (self.width,)),
                ("ffn_gate", (self.width, self.inner)),
                ("ffn_up", (self.width, self.inner)),
                ("ffn_down", (self.inner, self.width)),
            ):
                yield f"blk.{layer}.{name}.weight", shape
        yield "output_norm.weight", (self.width,)
        yield "output.weight", (self.width, self.vocabulary)

    @property
    def layer_weights(self) -> int:
        """Weights of a layer's matrices."""
        keys = self.width // self.heads * self.key_heads
        return self.width * (2 * self.width + 2 * keys + 3 * self.inner)


def write(path: Path, shape: Shape, kind: Kind, f32: Kind) -> None:
    """Write the model; every matrix is of one kind, and its weights are small random numbers.

    Numbers that are alike would be computed faster than a real model's: ggml looks up what the
    16 bits of a scale mean in a table, most of which is then in no cache.

    Raises:
        OSError: It cannot be written.
    """
    infos, size = [], 0
    for name, lengths in shape.tensors():
        its = kind if len(lengths) > 1 else f32
        infos.append(
            _text(name)
            + struct.pack(f"<I{len(lengths)}QIQ", len(lengths), *lengths, its.number, size)
        )
        size += -(-its.size(math.prod(lengths)) // _ALIGNMENT) * _ALIGNMENT
    pairs = list(_metadata(shape))
    header = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(pairs)) + b"".join(pairs + infos)
    blocks = _blocks(kind)
    with path.open("wb") as file:
        file.write(header)
        file.write(bytes(-len(header) % _ALIGNMENT))
        for _, lengths in shape.tensors():
            if len(lengths) > 1:
                _fill(file, kind.size(math.prod(lengths)), blocks)
            else:
                _fill(file, 4 * lengths[0], _ONE * 64)


def _fill(file: BinaryIO, size: int, block: bytes) -> None:
    for begin in range(0, size, len(block)):
        file.write(memoryview(block)[: size - begin])
    file.write(bytes(-size % _ALIGNMENT))


def _blocks(kind: Kind) -> bytes:
    """About a megabyte of a matrix of this kind."""
    random = Random(0)
    data = bytearray(random.randbytes(_PATTERN // kind.block_bytes * kind.block_bytes))
    # The upper byte of a number in 16 bits holds its exponent; these are 2^-12 to 2^-9.
    for at in (1,) if kind.name == "F16" else (each + 1 for each in kind.scales):
        data[at :: kind.block_bytes] = data[at :: kind.block_bytes].translate(_SMALL_16)
    if kind.name in ("F32", "BF16"):
        at = kind.block_bytes - 1
        data[at :: kind.block_bytes] = data[at :: kind.block_bytes].translate(_SMALL_32)
    return bytes(data)


def _metadata(shape: Shape) -> Iterator[bytes]:
    yield _pair("general.architecture", "llama")
    for name, number in (
        ("block_count", shape.layers),
        ("context_length", shape.context),
        ("embedding_length", shape.width),
        ("feed_forward_length", shape.inner),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.key_heads),
        ("rope.dimension_count", shape.width // shape.heads),
    ):
        yield _pair(f"llama.{name}", number)
    yield _pair("llama.attention.layer_norm_rms_epsilon", 1e-5)
    yield _pair("tokenizer.ggml.model", "llama")
    yield _pair("tokenizer.ggml.add_bos_token", value=True)
    for number, name in enumerate(("unknown", "bos", "eos")):
        yield _pair(f"tokenizer.ggml.{name}_token_id", number)
    plain = range(shape.vocabulary - FEWEST_TOKENS)
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    yield _list(
        "tokenizer.ggml.tokens", _STRING, [_text(each) for each in texts + [f"w{n}" for n in plain]]
    )
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * len(plain)]
    yield _list("tokenizer.ggml.token_type", _I32, [struct.pack("<i", each) for each in kinds])
    yield _list("tokenizer.ggml.scores", _F32, [struct.pack("<f", 0)] * shape.vocabulary)


def _pair(key: str, value: Any) -> bytes:
    if isinstance(value, bool):
        return _text(key) + struct.pack("<I?", _BOOL, value)
    if isinstance(value, str):
        return _text(key) + struct.pack("<I", _STRING) + _text(value)
    number = (
        struct.pack("<If", _F32, value)
        if isinstance(value, float)
        else struct.pack("<II", _U32, value)
    )
    return _text(key) + number


def _list(key: str, kind: int, items: list[bytes]) -> bytes:
    return _text(key) + struct.pack("<IIQ", _ARRAY, kind, len(items)) + b"".join(items)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
