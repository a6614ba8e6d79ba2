"""Pieces of llama.cpp's C interface in Python terms.

The library is passed in as ``lib``, because only a backend imports it.
"""

from __future__ import annotations

import ctypes
from typing import Any

from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import Sampling


class Vocabulary:
    """Text to tokens and back, for one loaded model."""

    def __init__(self, lib: Any, model: Any):
        self._lib = lib
        self.handle = lib.llama_model_get_vocab(model)
        self.size: int = lib.llama_vocab_n_tokens(self.handle)
        self._bos: int = lib.llama_vocab_bos(self.handle)
        self._eos: int = lib.llama_vocab_eos(self.handle)
        self._sep: int = lib.llama_vocab_sep(self.handle)
        self._buffer = ctypes.create_string_buffer(256)

    @property
    def bos_text(self) -> str:
        """Text of the token that begins a sequence; empty when there is none."""
        return self._text(self._bos)

    @property
    def eos_text(self) -> str:
        """Text of the token that ends one; empty when there is none."""
        return self._text(self._eos)

    def prompt(self, text: str) -> list[int]:
        """Tokens of a plain prompt, between those that the model wants around it.

        Raises:
            RequestError: The prompt is empty and this model has no token to begin with.
        """
        lib = self._lib
        first = [self._bos] if lib.llama_vocab_get_add_bos(self.handle) and self._bos >= 0 else []
        last = [self._sep] if self._sep >= 0 else []
        if not last and lib.llama_vocab_get_add_eos(self.handle):
            last = [self._eos]
        tokens = first + self.tokenize(text) + last
        if not tokens and self._bos < 0:
            raise RequestError("The prompt is empty.", data={"field": "prompt"})
        return tokens or [self._bos]

    def tokenize(self, text: str) -> list[int]:
        """Tokens of text that holds its special tokens already; none are added."""
        data = text.encode()
        # No token is shorter than a byte, but some vocabularies put a space in front.
        room = len(data) + 8
        tokens = (ctypes.c_int32 * room)()
        count = self._lib.llama_tokenize(self.handle, data, len(data), tokens, room, False, True)
        if count < 0:
            raise RequestError(f"The prompt of {len(data):,} bytes could not be tokenized.")
        return tokens[:count]

    def piece(self, token: int) -> bytes:
        """Bytes of a token; those of special tokens are empty."""
        buffer = self._buffer
        size = self._lib.llama_token_to_piece(self.handle, token, buffer, len(buffer), 0, False)
        if size < 0:
            self._buffer = ctypes.create_string_buffer(-size)
            return self.piece(token)
        return ctypes.string_at(buffer, size)

    def _text(self, token: int) -> str:
        if token < 0:
            return ""
        text: bytes = self._lib.llama_vocab_get_text(self.handle, token) or b""
        return text.decode("utf-8", "replace")


def new_sampler(
    lib: Any, vocabulary: Vocabulary, sampling: Sampling, seed: int, context_size: int
) -> Any:
    """A chain of samplers, to be given back with ``llama_sampler_free``.

    The order is that of llama-cpp-python: penalties, top_k, top_p, min_p, temperature, draw. As
    there, only tokens of the answer are penalised, not those of the prompt.
    """
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    recent = context_size if sampling.repeat_last_n < 0 else sampling.repeat_last_n
    samplers = [
        lib.llama_sampler_init_penalties(
            vocabulary.size, min(recent, context_size), sampling.repeat_penalty, 0.0, 0.0
        )
    ]
    if sampling.temperature == 0:
        samplers.append(lib.llama_sampler_init_greedy())
    else:
        samplers += [
            lib.llama_sampler_init_top_k(sampling.top_k),
            lib.llama_sampler_init_top_p(sampling.top_p, 1),
            lib.llama_sampler_init_min_p(sampling.min_p, 1),
            lib.llama_sampler_init_temp(sampling.temperature),
            lib.llama_sampler_init_dist(seed),
        ]
    for sampler in samplers:
        lib.llama_sampler_chain_add(chain, sampler)
    return chain


class Batch:
    """Tokens of one decode; the native arrays are made once and filled again and again.

    Args:
        lib: The library.
        capacity: Most tokens.
    """

    def __init__(self, lib: Any, capacity: int):
        self.capacity = capacity
        self.handle = lib.llama_batch_init(capacity, 0, 1)
        # Each look into the structure would make a new pointer object.
        self._tokens, self._positions = self.handle.token, self.handle.pos
        self._sequences, self._outputs = self.handle.seq_id, self.handle.logits
        for row in range(capacity):
            self.handle.n_seq_id[row] = 1
        self.size = 0

    def clear(self) -> None:
        """Start anew."""
        self.size = self.handle.n_tokens = 0

    def add(self, token: int, position: int, sequence: int, *, output: bool) -> int:
        """Add a token; return its row, for the sampler when ``output`` is wanted of it."""
        row = self.size
        self._tokens[row] = token
        self._positions[row] = position
        self._sequences[row][0] = sequence
        self._outputs[row] = output
        self.size = self.handle.n_tokens = row + 1
        return row
