"""Beam search: the likeliest texts are followed together, and the best that ended wins."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from llmspell_jupyter.engine.backends._torch.library import torch
from llmspell_jupyter.engine.backends._torch.sampling import Sampler


@dataclass(frozen=True, slots=True)
class _Beam:
    tokens: tuple[int, ...]
    score: float


class Beams:
    """The search of one answer.

    It gives what transformers gives with ``early_stopping=False``: the score of a text is the sum
    of its log-probabilities over its length to the power of ``length_penalty``, and the search
    goes on while the best open text, at its present length, beats the worst of ``count`` that
    ended.

    Attributes:
        count: Texts that are followed.

    Args:
        count: Texts that are followed.
        start: Token with which all begin.
        ends: Tokens that end a text.
        length_penalty: Exponent of the length.
        most: Tokens of a text at most.
        sampler: Its biases and penalties count.
    """

    def __init__(
        self,
        count: int,
        start: int,
        ends: Collection[int],
        length_penalty: float,
        most: int,
        sampler: Sampler,
    ):
        self.count = count
        self._ends = frozenset(ends)
        self._length_penalty = length_penalty
        self._most = most
        self._sampler = sampler
        self._open = [_Beam((start,), 0.0)]
        self._ended: list[_Beam] = []
        self._length = 0
        #: The search is over.
        self.done = False

    @property
    def tokens(self) -> list[int]:
        """The newest token of each open text."""
        return [beam.tokens[-1] for beam in self._open]

    @property
    def best(self) -> tuple[int, ...]:
        """The best text so far, without the token with which it begins."""
        return max(self._ended or self._open, key=lambda beam: beam.score).tokens[1:]

    def advance(self, logits: Any) -> list[int]:
        """Go on by one token.

        Args:
            logits: ``(rows, vocab_size)``, a row for each open text.

        Returns:
            For each text that is open, the row it comes from.
        """
        candidates = self._candidates(logits.log_softmax(-1))
        self._length += 1
        full = self._length >= self._most
        opened: list[tuple[int, _Beam]] = []
        for rank, (row, beam) in enumerate(candidates):
            if full or beam.tokens[-1] in self._ends:
                # One below the first `count` is there so that enough stay open.
                if rank < self.count:
                    self._end(beam)
            elif len(opened) < self.count:
                opened.append((row, beam))
        self.done = not opened or not self._can_improve(opened[0][1].score)
        self._open = [beam for _, beam in opened] or self._open
        return [row for row, _ in opened]

    def _candidates(self, logprobs: Any) -> list[tuple[int, _Beam]]:
        rows = [
            self._sampler.adjusted(row, beam.tokens) + beam.score
            for row, beam in zip(logprobs, self._open, strict=True)
        ]
        flat = torch().cat(rows)
        most = min(len(flat), max(2, 1 + len(self._ends)) * self.count)
        scores, places = flat.topk(most)
        size = logprobs.shape[1]
        return [
            (place // size, _Beam((*self._open[place // size].tokens, place % size), score))
            for place, score in zip(places.tolist(), scores.tolist(), strict=True)
        ]

    def _end(self, beam: _Beam) -> None:
        self._ended.append(_Beam(beam.tokens, self._weighed(beam.score)))
        self._ended.sort(key=lambda each: -each.score)
        del self._ended[self.count :]

    def _can_improve(self, best_open: float) -> bool:
        if len(self._ended) < self.count:
            return True
        return self._weighed(best_open) > self._ended[-1].score

    def _weighed(self, score: float) -> float:
        length: float = self._length**self._length_penalty
        return score / length
