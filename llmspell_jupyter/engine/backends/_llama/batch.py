"""Tokens on their way into llama.cpp."""

from __future__ import annotations

from typing import Any


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
