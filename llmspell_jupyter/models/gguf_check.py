"""Whether a GGUF file is sound, before native code sees it.

llama.cpp ends its process on some headers that are well-formed and wrong, and refuses others
without a word that helps. What the header shows is found here and named.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmspell_jupyter.models.gguf_reader import STRING, Items, Walk
from llmspell_jupyter.models.problems import bad_file

_TOKENS, _KINDS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_SCORES, _MERGES = "tokenizer.ggml.scores", "tokenizer.ggml.merges"

#: Most layers of a model: llama.cpp's ``LLAMA_MAX_LAYERS``.
MOST_LAYERS = 512

# Bounds of whole numbers, each alone or one for every layer. llama.cpp's counts are 32 bits wide,
# some of them signed.
_WHOLE = {
    "block_count": (1, MOST_LAYERS),
    "context_length": (0, 2**31 - 1),
    "embedding_length": (1, 2**24),
    "feed_forward_length": (0, 2**28),
    "attention.head_count": (0, 2**16),
    "attention.head_count_kv": (0, 2**16),
    "attention.key_length": (0, 2**16),
    "attention.value_length": (0, 2**16),
    "expert_count": (0, 1024),
    "expert_used_count": (0, 1024),
}

_EPSILONS = ("attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon")
_ROPE_SCALINGS = {"none", "linear", "yarn", "longrope"}

# Kind of a token that stands for a byte, in `tokenizer.ggml.token_type`.
_BYTE = 6
_BYTE_TEXT = re.compile(rb"<0x[0-9A-Fa-f]{2}>")


#: Lists that the check reads item by item.
NEEDED = frozenset({_TOKENS, _KINDS})


def check(path: Path, walk: Walk) -> str:
    """The architecture of a model whose header is sound.

    Args:
        path: What the file is called in errors.
        walk: Its header, with the lists in ``NEEDED``.

    Raises:
        BadModelFile: The header contradicts itself, or llama.cpp would stumble over it; the
            message names the gravest fault.
    """
    architecture = walk.scalars.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise bad_file(path, "it does not say its architecture (general.architecture)")
    for fault in faults(architecture, walk):
        raise bad_file(path, fault)
    return architecture


def faults(architecture: str, walk: Walk) -> Iterator[str]:
    """What is wrong with a header, the gravest first.

    Args:
        architecture: Its ``general.architecture``.
        walk: The header, with the lists in ``NEEDED``.
    """
    yield from _wrong_numbers(architecture, walk)
    yield from _wrong_experts(architecture, walk)
    yield from _wrong_vocabulary(walk)
    yield from _wrong_tensors(walk)


def _wrong_numbers(architecture: str, walk: Walk) -> Iterator[str]:
    for name, (least, most) in _WHOLE.items():
        key = f"{architecture}.{name}"
        for value in _values(walk, key):
            if type(value) is not int or not least <= value <= most:
                yield f"{key} is {_shown(value)}; it must be {least} to {most}"
    for name in _EPSILONS:
        key = f"{architecture}.{name}"
        for value in _values(walk, key):
            if not isinstance(value, float) or not 0 <= value < math.inf:
                yield f"{key} is {_shown(value)}; it must be a number from 0"
    key = f"{architecture}.rope.freq_base"
    for value in _values(walk, key):
        if not isinstance(value, float) or not 0 < value < math.inf:
            yield f"{key} is {_shown(value)}; it must be a number above 0"
    key = f"{architecture}.rope.scaling.type"
    scaling = walk.scalars.get(key, "none")
    if scaling not in _ROPE_SCALINGS:
        yield f"{key} is {_shown(scaling)}; known are {', '.join(sorted(_ROPE_SCALINGS))}"


def _wrong_experts(architecture: str, walk: Walk) -> Iterator[str]:
    experts = max(_values(walk, f"{architecture}.expert_count"), default=0)
    for used in _values(walk, f"{architecture}.expert_used_count") or [0]:
        if used > experts or (experts and not used):
            yield f"it uses {used} experts of {experts}"


def _wrong_vocabulary(walk: Walk) -> Iterator[str]:
    tokens = walk.lists.get(_TOKENS)
    if tokens is None:
        if _TOKENS in walk.scalars:
            yield f"{_TOKENS} is no list"
        return
    if tokens.kind != STRING or not tokens.values:
        yield f"{_TOKENS} is no list of texts"
        return
    yield from _repeated(tokens.values)
    kinds = walk.lists.get(_KINDS)
    for key, items in ((_SCORES, walk.lists.get(_SCORES)), (_KINDS, kinds)):
        if items is not None and items.count < tokens.count:
            yield f"{key} has {items.count} items for {tokens.count} tokens"
        if items is not None and items.kind == STRING:
            yield f"{key} is no list of numbers"
    merges = walk.lists.get(_MERGES)
    if merges is not None and merges.kind != STRING:
        yield f"{_MERGES} is no list of texts"
    yield from _wrong_bytes(walk.scalars.get("tokenizer.ggml.model"), tokens.values, kinds)
    table = walk.tensors.get("token_embd.weight")
    if table is not None and (len(table.shape) != 2 or table.shape[1] != tokens.count):
        yield f"its vocabulary has {tokens.count} tokens, token_embd.weight the shape {table.shape}"


def _repeated(tokens: tuple[bytes, ...]) -> Iterator[str]:
    if len(set(tokens)) == len(tokens):
        return
    seen: set[bytes] = set()
    for token in tokens:
        if token in seen:
            yield f"its vocabulary holds {_shown(token.decode('utf-8', 'replace'))} twice"
        seen.add(token)


def _wrong_bytes(model: Any, tokens: tuple[bytes, ...], kinds: Items | None) -> Iterator[str]:
    marked: list[bytes] = []
    if kinds is not None and kinds.values:
        marked = [token for token, kind in zip(tokens, kinds.values, strict=False) if kind == _BYTE]
    if model == "bert" and marked:
        yield "its vocabulary holds bytes, which a BERT vocabulary cannot"
    if model not in ("llama", "t5"):
        return
    for token in marked:
        if not _BYTE_TEXT.fullmatch(token):
            text = _shown(token.decode("utf-8", "replace"))
            yield f"its vocabulary says that {text} is a byte"
    if model == "llama":
        known = set(tokens)
        for byte in range(256):
            if f"<0x{byte:02X}>".encode() not in known and bytes([byte]) not in known:
                yield f"its vocabulary has no token for the byte <0x{byte:02X}>"


def _wrong_tensors(walk: Walk) -> Iterator[str]:
    parts = walk.scalars.get("split.count", 1)
    if type(parts) is not int or parts == 0:
        yield f"split.count is {_shown(parts)}"
    elif parts == 1 and not walk.tensors:
        yield "it holds no tensors"
    for name, tensor in walk.tensors.items():
        if 0 in tensor.shape:
            yield f"tensor {_shown(name)} is empty"


def _values(walk: Walk, key: str) -> list[Any]:
    """A value that may stand alone or once for every layer."""
    if key in walk.scalars:
        return [walk.scalars[key]]
    items = walk.lists.get(key)
    return list(items.values or ()) if items else []


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
