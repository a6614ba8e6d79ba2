"""What a context remembers: the tokens of requests that run and of some that have ended."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import ne
from typing import Any


@dataclass(slots=True, eq=False)
class _Trace:
    """One sequence of llama.cpp.

    Attributes:
        id: Its number.
        reserved: Tokens that it can come to have.
        tokens: Those that it has.
        cells: Where each of them lies; two sequences that share a beginning share its cells.
    """

    id: int
    reserved: int
    tokens: list[int] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)

    def cut(self, length: int) -> None:
        del self.tokens[length:], self.cells[length:]


class Memory:
    """Sequences of one context with a unified cache.

    What a request leaves behind is kept while there is room, the latest longest. A new request
    goes on from the longest beginning that it shares with one that is there.

    Args:
        lib: The library.
        handle: The native memory of the context.
        cells: Tokens that fit in.
        ids: Sequences that the context has.
        keeps: Whether sequences are kept and share their beginnings; a recurrent model cannot go
            back to a beginning, and one with a sliding window has forgotten it.
    """

    def __init__(self, lib: Any, handle: Any, *, cells: int, ids: int, keeps: bool):
        self._lib = lib
        self._handle = handle
        self._size = cells
        self._free = list(reversed(range(ids)))
        self._keeps = keeps
        self._active: dict[int, _Trace] = {}
        # The one that was used last stands last.
        self._kept: list[_Trace] = []
        self._names = itertools.count()

    def begin(self, prompt: list[int], reserved: int) -> tuple[int, int] | None:
        """Make room for a request.

        Args:
            prompt: Its tokens; one of them at least is left to be read.
            reserved: Tokens that it can come to have, the prompt included.

        Returns:
            The number of its sequence, and how many tokens of the prompt are there already; None
            when it has to wait until another one ends.
        """
        source, shared = self._longest(prompt)
        if self._lacking(self._active.values(), source, shared, reserved) > 0:
            return None
        trace = self._new(source, shared, reserved)
        self._active[trace.id] = trace
        return trace.id, shared

    def add(self, sequence: int, tokens: Iterable[int]) -> None:
        """Note what has been decoded."""
        trace = self._active[sequence]
        trace.tokens.extend(tokens)
        trace.cells.extend(itertools.islice(self._names, len(trace.tokens) - len(trace.cells)))

    def undo(self, sequence: int) -> bool:
        """Take out what has not been noted; False when the model cannot."""
        length = len(self._active[sequence].tokens)
        return bool(self._lib.llama_memory_seq_rm(self._handle, sequence, length, -1))

    def end(self, sequence: int, *, keep: bool = True) -> None:
        """Close a request's sequence.

        Args:
            sequence: Its number.
            keep: Whether later requests may go on from it.
        """
        if not (keep and self._keeps and self.undo(sequence)):
            self._drop(self._active.pop(sequence))
            return
        trace = self._active.pop(sequence)
        for other in [*self._kept]:
            if trace.tokens[: len(other.tokens)] == other.tokens:
                self._forget(other)
        self._kept.append(trace)

    def _longest(self, prompt: list[int]) -> tuple[_Trace | None, int]:
        """Who shares most of a prompt, the latest of several, and how many tokens."""
        best, most = None, 0
        for trace in self._all() if self._keeps else ():
            shared = common(trace.tokens, prompt, len(prompt) - 1)
            if shared and shared >= most:
                best, most = trace, shared
        return best, most

    def _all(self) -> list[_Trace]:
        return [*self._kept, *self._active.values()]

    def _lacking(
        self, others: Iterable[_Trace], source: _Trace | None, shared: int, reserved: int
    ) -> int:
        """Tokens of room that are missing for a request beside these sequences."""
        used = set(itertools.chain.from_iterable(each.cells for each in others))
        if source is not None:
            used.update(source.cells[:shared])
        promised = sum(each.reserved - len(each.tokens) for each in self._active.values())
        return len(used) + promised + reserved - shared - self._size

    def _new(self, source: _Trace | None, shared: int, reserved: int) -> _Trace:
        """A sequence with the shared beginning; what was kept gives way to it, oldest first."""
        if source in self._kept:
            self._kept.remove(source)
            self._kept.append(source)
        takes_over = source in self._kept and shared == len(source.tokens)
        while not (self._free or takes_over) or (
            self._lacking(self._all(), source, shared, reserved) > 0
        ):
            oldest = self._kept[0]
            if oldest is source:
                takes_over = True
                break
            self._forget(oldest)
        if source is not None and takes_over:
            return self._take_over(source, shared, reserved)
        trace = _Trace(self._free.pop(), reserved)
        if source is not None:
            self._lib.llama_memory_seq_cp(self._handle, source.id, trace.id, 0, shared)
            trace.tokens, trace.cells = source.tokens[:shared], source.cells[:shared]
        return trace

    def _take_over(self, trace: _Trace, shared: int, reserved: int) -> _Trace:
        self._kept.remove(trace)
        trace.cut(shared)
        trace.reserved = reserved
        self._lib.llama_memory_seq_rm(self._handle, trace.id, shared, -1)
        return trace

    def _forget(self, trace: _Trace) -> None:
        self._kept.remove(trace)
        self._drop(trace)

    def _drop(self, trace: _Trace) -> None:
        # Removing a whole sequence never fails.
        self._lib.llama_memory_seq_rm(self._handle, trace.id, -1, -1)
        self._free.append(trace.id)


def common(one: list[int], other: list[int], most: int) -> int:
    """Length of the beginning that two lists share, at most so much."""
    most = min(most, len(one), len(other))
    different = map(ne, itertools.islice(one, most), other)
    return next((i for i, differs in enumerate(different) if differs), most)
