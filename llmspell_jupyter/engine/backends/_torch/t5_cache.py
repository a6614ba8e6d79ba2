"""What the decoder of a T5 model remembers of the answers that it writes together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmspell_jupyter.engine.backends._torch.library import torch

_SMALLEST = 64


class Cache:
    """Keys and values of all rows of a batch.

    Rows are aligned at their newest token: a row that joins later begins in a later column. The
    distance between two tokens of a row is that of their columns, so position biases are the
    same for every row, and one mask hides what lies before a row's beginning.

    Attributes:
        own: Of the answers; ``(layers, 2, rows, heads, columns, d_kv)``.
        read: Of the prompts; ``(layers, 2, rows, heads, tokens, d_kv)``.
        begin: The first column that a row uses.
        end: The column after the last one.
    """

    def __init__(self) -> None:
        self.own: Any = None
        self.read: Any = None
        self.begin = 0
        self.end = 0
        self._starts: list[int] = []
        self._lengths: list[int] = []
        self._hidden: Any = None
        self._unread: Any = None

    @property
    def rows(self) -> int:
        """How many answers there are."""
        return len(self._starts)

    def join(self, memory: Any) -> None:
        """Add a row for a prompt that was read.

        Args:
            memory: Its keys and values, ``(layers, 2, heads, tokens, d_kv)``.
        """
        layers, _, heads, length, width = memory.shape
        read = memory[:, :, None]
        if not self.rows:
            self.begin = self.end = 0
            self.read = read
            self.own = memory.new_zeros(layers, 2, 1, heads, _SMALLEST, width)
        else:
            longest = max(length, self.read.shape[4])
            self.read = torch().cat([_padded(self.read, longest), _padded(read, longest)], dim=2)
            shape = (layers, 2, 1, heads, self.own.shape[4], width)
            # What is hidden still gets multiplied, and nothing times a NaN is a NaN.
            self.own = torch().cat([self.own, memory.new_zeros(shape)], dim=2)
        self._starts += [self.end]
        self._lengths += [length]
        self._mask()

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; one may stand there several times."""
        if list(rows) == list(range(self.rows)):
            return
        same_prompts = [self._lengths[row] for row in rows] == self._lengths
        self._starts = [self._starts[row] for row in rows]
        self._lengths = [self._lengths[row] for row in rows]
        if not rows:
            self.own = self.read = None
            return
        index = torch().tensor(rows, device=self.own.device)
        self.own = self.own.index_select(2, index)
        self.read = self.read.index_select(2, index)
        if not same_prompts:
            self.read = self.read[..., : max(self._lengths), :]
        self._mask()

    def advance(self) -> None:
        """Make room for one more token of every row."""
        if self.end == self.own.shape[4]:
            self._make_room()
        self.end += 1

    def hidden(self) -> Any:
        """The mask of columns before a row's beginning, or None; ``(rows, 1, 1, columns)``."""
        return None if self._hidden is None else self._hidden[..., self.begin : self.end]

    def unread(self) -> Any:
        """The mask of columns behind a prompt's end, or None; ``(rows, 1, 1, tokens)``."""
        return self._unread

    def _make_room(self) -> None:
        used = self.own[..., self.begin : self.end, :]
        columns = self.end - self.begin
        self._starts = [start - self.begin for start in self._starts]
        self.begin, self.end = 0, columns
        shape = (*used.shape[:4], max(_SMALLEST, 2 * columns), used.shape[5])
        self.own = used.new_zeros(shape)
        self.own[..., :columns, :] = used
        self._mask()

    def _mask(self) -> None:
        self.begin = min(self._starts)
        self._hidden = self._unread = None
        if max(self._starts) > self.begin:
            columns = torch().arange(self.own.shape[4], device=self.own.device)
            self._hidden = self._forbid(columns[None] < self._column(self._starts))
        if min(self._lengths) < self.read.shape[4]:
            columns = torch().arange(self.read.shape[4], device=self.own.device)
            self._unread = self._forbid(columns[None] >= self._column(self._lengths))

    def _column(self, values: list[int]) -> Any:
        return torch().tensor(values, device=self.own.device)[:, None]

    def _forbid(self, where: Any) -> Any:
        mask = torch().zeros(where.shape, dtype=self.own.dtype, device=where.device)
        return mask.masked_fill_(where, torch().finfo(mask.dtype).min)[:, None, None, :]


def _padded(read: Any, length: int) -> Any:
    missing = length - read.shape[4]
    return torch().nn.functional.pad(read, (0, 0, 0, missing)) if missing else read
