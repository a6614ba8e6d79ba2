"""What a GGUF model reads of its weights for each token, which is what its speed depends on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from llmspell_jupyter.models.gguf_kinds import BY_NUMBER, KINDS
from llmspell_jupyter.models.gguf_need import Shape, layer_count
from llmspell_jupyter.models.gguf_reader import Walk

_TABLE, _HEAD = "token_embd.weight", "output.weight"

# Tables of which a token takes a row; lists that are read as they are.
_ROWS = (_TABLE, "position_embd.weight", "token_types.weight", "per_layer_token_embd.weight")

# Kinds of the matrices of a quantisation, with the share of the weights that each holds, as
# llama.cpp's own tool mixes them; that of the head comes last.
_MIXES: dict[str, tuple[dict[str, float], str]] = {
    "Q2_K": ({"Q2_K": 0.6, "Q3_K": 0.4}, "Q6_K"),
    "Q3_K_S": ({"Q3_K": 1.0}, "Q6_K"),
    "Q3_K_M": ({"Q3_K": 0.6, "Q4_K": 0.3, "Q5_K": 0.1}, "Q6_K"),
    "Q3_K_L": ({"Q3_K": 0.6, "Q5_K": 0.4}, "Q6_K"),
    "Q4_K_S": ({"Q4_K": 0.95, "Q5_K": 0.05}, "Q6_K"),
    "Q4_K_M": ({"Q4_K": 0.8, "Q6_K": 0.2}, "Q6_K"),
    "Q5_K_S": ({"Q5_K": 1.0}, "Q6_K"),
    "Q5_K_M": ({"Q5_K": 0.8, "Q6_K": 0.2}, "Q6_K"),
    **{name: ({name: 1.0}, "Q6_K") for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q6_K")},
    **{name: ({name: 1.0}, "Q6_K") for name in ("IQ4_XS", "IQ4_NL", "MXFP4")},
    **{name: ({name: 1.0}, name) for name in ("Q8_0", "F16", "BF16", "F32")},
}


@dataclass(frozen=True, slots=True)
class Work:
    """What is computed for each token.

    Attributes:
        kinds: Bytes of weights that are read, by the name of their kind.
        inner: Bytes of those among them that a prompt's tokens are multiplied with, too; the
            head is used for its last token alone.
        layers: Layers.
        vocabulary: Tokens to choose from.
        attention: Numbers that it is multiplied with for each token of context.
    """

    kinds: Mapping[str, int]
    inner: Mapping[str, int]
    layers: int
    vocabulary: int
    attention: int

    @property
    def main(self) -> str:
        """The kind that most of the bytes are of; empty when there are none."""
        return max(self.kinds, key=lambda name: self.kinds[name], default="")


def of_header(walk: Walk, shape: Shape, size_bytes: int) -> Work | None:
    """The work of the model with this header; None when its kinds are not known.

    Args:
        walk: The header, of the first file if there are several.
        shape: What counts of it.
        size_bytes: Size of all files; what the header does not show is taken to be alike.
    """
    architecture = str(walk.scalars.get("general.architecture"))
    experts = walk.scalars.get(f"{architecture}.expert_count", 0)
    used = walk.scalars.get(f"{architecture}.expert_used_count", 0)
    share = used / experts if type(experts) is type(used) is int and 0 < used < experts else 1.0
    kinds: dict[str, float] = {}
    inner: dict[str, float] = {}
    seen = 0
    for name, tensor in walk.tensors.items():
        kind = BY_NUMBER.get(tensor.kind)
        if kind is None:
            return None
        size = kind.size(math.prod(tensor.shape))
        seen += size
        head = name == _HEAD or (name == _TABLE and _HEAD not in walk.tensors)
        if len(tensor.shape) < 2 or (name in _ROWS and not head):
            continue
        size = int(size * share) if "_exps." in name else size
        kinds[kind.name] = kinds.get(kind.name, 0) + size
        if not head:
            inner[kind.name] = inner.get(kind.name, 0) + size
    weights = max(0, size_bytes - shape.header)
    # Of several files the first one's kinds stand for all.
    scale = weights / seen if walk.scalars.get("split.count", 1) != 1 and seen else 1.0
    return Work(
        MappingProxyType({name: int(size * scale) for name, size in kinds.items()}),
        MappingProxyType({name: int(size * scale) for name, size in inner.items()}),
        layer_count(walk, architecture),
        shape.vocabulary,
        shape.attention,
    )


def of_mix(
    quantization: str,
    size_bytes: int,
    parameter_count: int | None,
    *,
    shape: Shape,
    layers: int,
    table: int,
) -> Work | None:
    """The work of a model of which only quantisation and shape are known, roughly.

    Args:
        quantization: As its file is named; None comes back for one whose mix is not known.
        size_bytes: Size of its files.
        parameter_count: Number of its weights; None when unknown.
        shape: What counts of it.
        layers: Its layers.
        table: Weights of its vocabulary's table.
    """
    mix = _MIXES.get(quantization.upper())
    if mix is None or not parameter_count:
        return None
    shares, head = mix
    rest = max(0, parameter_count - table)
    # A model reads and writes with one table, or has two; its size tells.
    weight = sum(share * _per_weight(name) for name, share in shares.items())
    one = rest * weight + table * _per_weight(head)
    two = (rest - table) * weight + table * (_per_weight(head) + weight)
    if abs(two - size_bytes) < abs(one - size_bytes):
        rest -= table
    inner = {name: int(share * rest * _per_weight(name)) for name, share in shares.items()}
    kinds = dict(inner)
    kinds[head] = kinds.get(head, 0) + int(table * _per_weight(head))
    return Work(
        MappingProxyType(kinds), MappingProxyType(inner), layers, shape.vocabulary, shape.attention
    )


def _per_weight(name: str) -> float:
    return KINDS[name].block_bytes / KINDS[name].block
