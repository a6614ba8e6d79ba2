"""Memory of a GGUF model in llama.cpp.

The context is what llama.cpp allocates, to the byte; the working space bounds from above what it
reserves. Both are held against llama.cpp itself in the tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from llmspell_jupyter.models import need as needs
from llmspell_jupyter.models.gguf_check import MOST_LAYERS
from llmspell_jupyter.models.gguf_reader import Walk
from llmspell_jupyter.models.need import Need
from llmspell_jupyter.types import CacheType, LoadOptions

# Bytes of one number. The short kinds are held in blocks of 32 with a scale, some with an offset.
_CACHE_BYTES: dict[CacheType, float] = {"f32": 4, "f16": 2, "bf16": 2, "q8_0": 34 / 32}
_CACHE_BYTES |= {"q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32, "q4_0": 18 / 32}

#: Key of a header, behind its architecture: tokens of context before that was stretched.
ORIGINAL = "rope.scaling.original_context_length"

# llama.cpp rounds the context up to whole blocks of so many tokens.
_CELLS = 256

# A worker with llama.cpp and numpy but hardly a model took 55 MB (Linux, llama-cpp-python 0.3.36).
_PROCESS = 70_000_000

# Texts, merges and tables of a vocabulary: 360 bytes for each of SmolLM2's 49,152 tokens.
_TOKEN = 512

# llama.cpp switches flash attention off for these.
_WITHOUT_FLASH = {"grok"}

# Where a model that reads texts as a whole makes room, in tokens.
_SMALLEST_ROOM = 512

_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
_RECURRENT = ("ssm_", "time_mix_", "shortconv.")
_ATTENTION = ("attn_k.", "attn_q.", "attn_kv_a_mqa.")

_MOST = 2**40


@dataclass(frozen=True, slots=True)
class Shape:
    """What counts of a model.

    Attributes:
        header: Bytes of its file that are no weights.
        cell: Numbers that the context holds for each token.
        layer_cell: As many of them as the largest layer holds.
        attention: Numbers that a token is multiplied with for each token before it: those of the
            context, once for every head that uses them.
        state: Numbers of 32 bits that it holds for each text, however long.
        width: Numbers of one token between and inside the attention layers.
        inner: Numbers of one token inside the widest other layer, the longest row being a third.
        heads: Attention heads.
        vocabulary: Tokens.
        masks: Kinds of attention to what it remembers; each has a mask of its own.
        trained: Tokens that it was trained for; 0 when unknown.
        original: As many before its context was stretched; 0 when it was not.
        flash: Whether flash attention can be used.
        whole: It reads a text as a whole, as embedding models do, and remembers nothing.
    """

    header: int
    cell: int
    layer_cell: int
    attention: int
    state: int
    width: int
    inner: int
    heads: int
    vocabulary: int
    masks: int
    trained: int
    original: int
    flash: bool
    whole: bool


def need(shape: Shape, size_bytes: int, options: LoadOptions) -> Need:
    """Memory of a model of this shape.

    Args:
        shape: As its header says.
        size_bytes: Size of its file, or of all of them.
        options: How it would be loaded.
    """
    tokens = options.context_size or shape.trained or LoadOptions().context_size
    tokens = min(tokens, shape.trained or tokens)
    texts = options.max_concurrent
    batch = max(texts, min(options.batch_size, tokens))
    shared = max(batch, shared_tokens(tokens, texts, shape.original))
    cells = -(-shared // _CELLS) * _CELLS
    number = _CACHE_BYTES[options.cache_type]
    if shape.whole:
        batch = cells = max(_SMALLEST_ROOM, 1 << (tokens - 1).bit_length())
        number = 0
    return Need(
        weights=max(0, size_bytes - shape.header),
        context=int(cells * shape.cell * number) + 4 * texts * shape.state,
        working=_PROCESS
        + _TOKEN * shape.vocabulary
        + _compute(shape, batch, cells, options)
        # Logits of each answer's newest token, and the same as candidates with a probability.
        + 16 * texts * shape.vocabulary,
    )


def shared_tokens(own: int, texts: int, original: int) -> int:
    """Tokens of context that answers written at the same time share.

    Args:
        own: Tokens that one answer can fill.
        texts: Answers that are written at a time.
        original: Tokens of the model's context before that was stretched; 0 when it was not.
            Some models turn positions in another way in a context longer than this.
    """
    shared = needs.shared_tokens(own, texts)
    return max(own, min(shared, original)) if original else shared


def _compute(shape: Shape, batch: int, cells: int, options: LoadOptions) -> int:
    """Bytes in which a batch is computed: the largest of its phases, and the attention masks."""
    logits = 4 * batch * (shape.vocabulary + 4 * shape.width)
    layer = 4 * batch * (shape.inner + 4 * shape.width)
    attention = 4 * batch * 8 * shape.width
    if not (shape.flash and options.flash_attention):
        attention += 4 * batch * cells * (shape.heads + 1)
    elif options.cache_type == "f32":
        attention += 2 * cells * shape.layer_cell  # A layer's part of the context in 16 bits.
    masks = 6 * batch * cells * shape.masks  # Made in 32 bits, used in 16.
    rows = 2 * batch * (shape.inner // 3 + shape.width)  # Rounded for the weights' format.
    return max(logits, layer, attention) + masks + rows


def read_shape(walk: Walk) -> Shape:
    """What counts of the model with this header; of one in several files, that of the first."""
    read = _Reader(walk)
    heads = read.layered("attention.head_count") or [0] * read.layers
    width = read.number("embedding_length")
    head = width // next((each for each in heads if each), 1)
    keys = max(read.number("attention.key_length", head), read.number("attention.key_length_swa"))
    values = max(
        read.number("attention.value_length", head), read.number("attention.value_length_swa")
    )
    present = read.layers_with_cache()
    cells = [
        key_heads * (keys + values) if there else 0
        for key_heads, there in zip(
            read.layered("attention.head_count_kv") or heads, present, strict=True
        )
    ]
    multiplied = (each for each, there in zip(heads, present, strict=True) if there)
    forward = max(read.layered("feed_forward_length"), default=0)
    experts = read.number("expert_used_count", 1) or 1
    expert = read.number("expert_feed_forward_length") or forward
    shared = read.number("expert_shared_feed_forward_length")
    return Shape(
        header=walk.end,
        cell=sum(cells),
        layer_cell=max(cells),
        attention=sum(multiplied) * (keys + values),
        state=read.state(width) * read.layers,
        width=max(width, max(heads) * max(keys, values)),
        inner=max(
            3 * max(forward, experts * expert + shared) + experts * width,
            8 * read.number("ssm.inner_size"),
        ),
        heads=max(heads),
        vocabulary=read.vocabulary(),
        masks=0 if not any(cells) else 2 if read.number("attention.sliding_window") else 1,
        trained=read.number("context_length"),
        original=read.number(ORIGINAL),
        flash=read.architecture not in _WITHOUT_FLASH,
        whole=walk.scalars.get(f"{read.architecture}.attention.causal") is False,
    )


def layer_count(walk: Walk, architecture: str) -> int:
    """Layers of the model with this header; 0 when it names none, or more than any model has."""
    layers = _whole(walk.scalars.get(f"{architecture}.block_count"))
    return layers if layers <= MOST_LAYERS else 0


def plain_shape(
    *,
    layers: int,
    width: int,
    inner: int,
    heads: int,
    key_heads: int,
    head: int,
    vocabulary: int,
    trained: int,
) -> Shape:
    """The shape of a model whose layers all attend to all tokens, from its numbers alone.

    Args:
        layers: Its layers.
        width: Numbers of a token between them.
        inner: The same inside the feed-forward part.
        heads: Heads of attention.
        key_heads: Heads of keys and values.
        head: Numbers of each.
        vocabulary: Tokens.
        trained: Tokens that it was trained for; 0 when unknown.
    """
    cell = 2 * key_heads * head
    return Shape(
        header=0,
        cell=layers * cell,
        layer_cell=cell,
        attention=layers * 2 * heads * head,
        state=0,
        width=max(width, heads * head),
        inner=3 * inner + width,
        heads=heads,
        vocabulary=vocabulary,
        masks=1,
        trained=trained,
        original=0,
        flash=True,
        whole=False,
    )


class _Reader:
    """Numbers of a header, which may hold anything."""

    def __init__(self, walk: Walk):
        self._walk = walk
        self.architecture = str(walk.scalars.get("general.architecture"))
        self.layers = max(1, layer_count(walk, self.architecture))

    def number(self, name: str, default: int = 0) -> int:
        return _whole(self._walk.scalars.get(f"{self.architecture}.{name}"), default)

    def layered(self, name: str) -> list[int]:
        """A number for each layer, where one that stands alone holds for all; or nothing."""
        key = f"{self.architecture}.{name}"
        items = self._walk.lists.get(key)
        if items is not None and items.values:
            values = [_whole(value) for value in items.values[: self.layers]]
            return values + [max(values)] * (self.layers - len(values))
        return [self.number(name)] * self.layers if key in self._walk.scalars else []

    def layers_with_cache(self) -> list[bool]:
        """For each layer whether it remembers every token; those without tensors here may."""
        recurrent, attentive = set(), set()
        for name in self._walk.tensors:
            if match := _BLOCK.fullmatch(name):
                layer, part = int(match[1]), match[2]
                recurrent |= {layer} if part.startswith(_RECURRENT) else set()
                attentive |= {layer} if part.startswith(_ATTENTION) else set()
        return [layer in attentive or layer not in recurrent for layer in range(self.layers)]

    def state(self, width: int) -> int:
        """Numbers that a layer with a state holds for each text."""
        inner, size = self.number("ssm.inner_size"), self.number("ssm.state_size")
        window = max(0, self.number("ssm.conv_kernel") - 1)
        scanned = inner * size + window * (inner + 2 * self.number("ssm.group_count") * size)
        shifted = width * max(0, self.number("shortconv.l_cache") - 1)
        head = self.number("wkv.head_size")
        return scanned + shifted + (width * (head + 2) if head else 0)

    def vocabulary(self) -> int:
        tokens = self._walk.lists.get("tokenizer.ggml.tokens")
        table = self._walk.tensors.get("token_embd.weight")
        rows = table.shape[-1] if table and table.shape else 0
        return max(tokens.count if tokens else 0, self.number("vocab_size"), rows)


def _whole(value: Any, default: int = 0) -> int:
    return value if type(value) is int and 0 <= value <= _MOST else default
