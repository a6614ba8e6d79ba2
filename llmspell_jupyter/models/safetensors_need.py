"""Memory of a model folder in torch and in CTranslate2."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from llmspell_jupyter.models.folder import ModelFolder
from llmspell_jupyter.models.need import Need, shared_tokens
from llmspell_jupyter.types import DType, LoadOptions

# A worker with these libraries but hardly a model (Linux, torch 2.13, transformers 5.23,
# ctranslate2 4.8) took 275 MB with torch, 395 MB with transformers as well, 80 MB with ctranslate2.
_PROCESS = {"torch_t5": 300_000_000, "ctranslate2_t5": 100_000_000}
_TRANSFORMERS = 420_000_000

_TOKEN = 512

# Bytes of one number; where it is left open, a CPU computes in 32 bits.
_BYTES: dict[DType, int] = {"auto": 4, "float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}

# Queries of a prompt that torch's T5 attends for at a time.
_QUERIES = 512

# CTranslate2 attends for all of a prompt at once. It is granted this much; a prompt of 4,096
# tokens to t5-small takes 1.6 GB for a moment, which no usual text needs.
_USUAL_PROMPT = 1_024

_T5 = ("torch_t5", "ctranslate2_t5")

# A number of a ``config.json`` that is larger is none.
_MOST = 2**40


def need(folder: ModelFolder, options: LoadOptions, backend: str) -> Need:
    """Memory of the model in a folder.

    Args:
        folder: As ``inspect_folder`` found it.
        options: How it would be loaded.
        backend: Name of the backend that would run it.
    """
    shape = _Shape(folder.config)
    if backend in _T5:
        return _t5(folder, shape, options, fast=backend == "ctranslate2_t5")
    number = max(2, _BYTES[options.dtype])
    tokens = shape.tokens(options)
    batch = max(options.batch_size, tokens) if backend == "torch_bert" else options.batch_size
    cell = 2 * shape.layers * shape.key_heads * shape.head * number
    # Keys and values are spread over all heads while a layer is computed.
    attention = 2 * shape.heads * shape.head * 4 * tokens + batch * tokens * 8
    if backend == "torch_bert":
        cell, attention = 0, shape.heads * batch * tokens * 8
    return Need(
        weights=number * folder.parameter_count,
        context=cell * shared_tokens(tokens, options.max_concurrent),
        working=_TRANSFORMERS
        + (_TOKEN + 16 * options.max_concurrent) * shape.vocabulary
        + attention
        + batch * 4 * (3 * shape.inner + 8 * shape.width),
    )


def _t5(folder: ModelFolder, shape: _Shape, options: LoadOptions, *, fast: bool) -> Need:
    tokens = shape.tokens(options, trained=0)
    # CTranslate2 computes on a thread for each answer, and on no more than there are cores.
    texts = min(options.max_concurrent, os.cpu_count() or 1) if fast else options.max_concurrent
    int8 = options.dtype == "int8" or (fast and options.dtype != "float32")
    number = 4 if fast or int8 else _BYTES[options.dtype]
    cell = 2 * shape.decoder_layers * shape.heads * shape.head * number
    # A prompt is remembered by every layer, and an answer that may be as long.
    both = 2 * tokens
    if fast:
        attention = 16 * shape.heads * min(tokens, _USUAL_PROMPT) ** 2 * texts
    else:
        attention = 20 * shape.heads * _QUERIES * tokens
    return Need(
        weights=_t5_weights(folder, shape, number, int8=int8, fast=fast),
        context=cell * (both * texts if fast else shared_tokens(both, texts)),
        working=_PROCESS["ctranslate2_t5" if fast else "torch_t5"]
        + (_TOKEN + 16 * texts) * shape.vocabulary
        + attention
        + tokens * 4 * (3 * shape.inner + 8 * shape.width),
    )


def _t5_weights(folder: ModelFolder, shape: _Shape, number: int, *, int8: bool, fast: bool) -> int:
    def size(name: str) -> int:
        short = int8 and len(folder.tensors[name].shape) > 1
        # torch reads a prompt in full numbers, and writes an answer in short ones.
        return 1 if short and (fast or name.startswith("decoder.")) else number

    weights = sum(size(name) * tensor.size for name, tensor in folder.tensors.items())
    # The head, which may be the embedding as well, is held by torch in a form of its own.
    head = 0 if fast else (1 if int8 else number)
    return weights + head * shape.vocabulary * shape.width


class _Shape:
    """Numbers of a ``config.json``, under whichever of their names they have."""

    def __init__(self, config: Mapping[str, Any]):
        self._config = config
        self.layers = self._first("num_hidden_layers", "n_layer", "num_layers")
        self.decoder_layers = self._first("num_decoder_layers") or self.layers
        self.width = self._first("hidden_size", "n_embd", "d_model")
        self.inner = self._first("intermediate_size", "n_inner", "d_ff") or 4 * self.width
        self.heads = max(1, self._first("num_attention_heads", "n_head", "num_heads"))
        self.key_heads = self._first("num_key_value_heads") or self.heads
        self.head = self._first("head_dim", "d_kv") or self.width // self.heads
        self.vocabulary = self._first("vocab_size")
        self.trained = self._first("max_position_embeddings", "n_positions", "n_ctx")

    def tokens(self, options: LoadOptions, trained: int | None = None) -> int:
        """Tokens of context; ``trained`` bounds them, 0 being no bound."""
        bound = self.trained if trained is None else trained
        tokens = options.context_size or self.trained or LoadOptions().context_size
        return min(tokens, bound or tokens)

    def _first(self, *names: str) -> int:
        values = (self._config.get(name) for name in names)
        return next((value for value in values if type(value) is int and 0 < value <= _MOST), 0)
