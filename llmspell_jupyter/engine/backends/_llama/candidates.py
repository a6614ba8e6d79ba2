"""Tokens to choose from."""

from __future__ import annotations

import ctypes
from typing import Any


class Candidates:
    """Tokens with their logits, as samplers of llama.cpp take them.

    Args:
        lib: The library.
        size: How many there are at most.
    """

    def __init__(self, lib: Any, size: int):
        # A library that llama_cpp brings along; the engine's own process does without.
        import numpy

        self._lib = lib
        self._numpy = numpy
        kind = numpy.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
        self._table = numpy.zeros(size, kind)
        self._ids = numpy.arange(size, dtype="<i4")
        self._data = self._table.ctypes.data_as(lib.llama_token_data_p)
        self._array = lib.llama_token_data_array(self._data, size, -1, False)

    def fill(self, context: Any, row: int) -> None:
        """Take all tokens with the logits of a row."""
        pointer = self._lib.llama_get_logits_ith(context, row)
        size = len(self._table)
        self._table["logit"] = self._numpy.ctypeslib.as_array(pointer, (size,))
        self._table["id"] = self._ids
        self._reset()

    def set(self, token: int) -> None:
        """Take one token alone."""
        self._table[0] = (token, 0.0, 0.0)
        self._reset()

    def forbid(self, tokens: list[int]) -> None:
        """Leave tokens out; just after ``fill``."""
        self._table["logit"][tokens] = -self._numpy.inf

    def apply(self, sampler: Any) -> None:
        """Let a sampler filter and choose."""
        self._lib.llama_sampler_apply(sampler, ctypes.byref(self._array))

    def draw(self, chain: Any) -> int:
        """The token that a chain chooses; -1 when it chooses none."""
        self.apply(chain)
        if not 0 <= self._array.selected < self._array.size:
            return -1
        return int(self._array.data[self._array.selected].id)

    def any_left(self) -> bool:
        """Whether there is a token that is not ruled out."""
        return bool((self._table["logit"] > -self._numpy.inf).any())

    def _reset(self) -> None:
        # Samplers may put their own table in place of ours.
        self._array.data, self._array.size = self._data, len(self._table)
        self._array.selected, self._array.sorted = -1, False
