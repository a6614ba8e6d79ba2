"""How likely tokens are."""

from __future__ import annotations

from typing import Any

from llmspell_jupyter.engine.backends._llama.vocabulary import Vocabulary
from llmspell_jupyter.types import TokenLogprob

# For what is ruled out; JSON has no infinity.
_LEAST = -9999.0


class Logprobs:
    """Reads probabilities from a context, before any filter or penalty.

    Args:
        lib: The library.
        vocabulary: Of the model.
    """

    def __init__(self, lib: Any, vocabulary: Vocabulary):
        # A library that llama_cpp brings along; the engine's own process does without.
        import numpy

        self._lib = lib
        self._numpy = numpy
        self._vocabulary = vocabulary

    def of(self, context: Any, row: int, token: int, count: int) -> TokenLogprob:
        """The log-probability of a token and of the likeliest in its place.

        Args:
            context: Where the batch was decoded.
            row: The batch's row.
            token: The token that was chosen.
            count: How many of the likeliest.
        """
        numpy = self._numpy
        logits = self._logits(context, row).astype("f8")
        highest = logits.max()
        logprobs = logits - highest - numpy.log(numpy.exp(logits - highest).sum())
        logprobs = logprobs.clip(min=_LEAST)
        best = numpy.argsort(-logprobs, kind="stable")[:count] if count else ()
        top = tuple(self._one(int(each), float(logprobs[each])) for each in best)
        return self._one(token, float(logprobs[token]), top)

    def are_numbers(self, context: Any, row: int) -> bool:
        """Whether the logits of a row are numbers, as those of a sound model are."""
        return not self._numpy.isnan(self._logits(context, row)).any()

    def _logits(self, context: Any, row: int) -> Any:
        pointer = self._lib.llama_get_logits_ith(context, row)
        return self._numpy.ctypeslib.as_array(pointer, (self._vocabulary.size,))

    def _one(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        data = self._vocabulary.shown(token)
        return TokenLogprob(data.decode("utf-8", "replace"), tuple(data), logprob, top)
