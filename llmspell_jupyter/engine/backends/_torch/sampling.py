"""The next token from one row of logits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llmspell_jupyter.engine.backends._torch.library import torch
from llmspell_jupyter.errors import EngineError, RequestError
from llmspell_jupyter.types import Sampling, TokenLogprob

#: What ``draw`` acts on, for ``Backend.controls``.
CONTROLS = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "seed", "logit_bias", "logprobs"),
        *("repeat_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty"),
    }
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A token that was drawn.

    Attributes:
        token: Its id.
        logprob: Natural logarithm of its probability before any filter, bias or penalty; None
            when that was not asked for.
        top: Ids and log-probabilities of the likeliest tokens, the likeliest first.
    """

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


def generator(seed: int) -> Any:
    """The source of an answer's draws. It is the CPU's: a seed means the same on any device."""
    return torch().Generator().manual_seed(seed)


def check_biases(sampling: Sampling, vocabulary: int) -> None:
    """Check that biases are on tokens that there are.

    Args:
        sampling: What the request says.
        vocabulary: Number of logits in a row.

    Raises:
        RequestError: Names the token.
    """
    for token, _ in sampling.logit_bias:
        if token >= vocabulary:
            raise RequestError(
                f"logit_bias names token {token:,}; this model has {vocabulary:,}, from 0.",
                data={"field": "logit_bias", "value": token},
            )


def draw(
    logits: Any, sampling: Sampling, history: Sequence[int], source: Any, logprobs: int | None
) -> Drawn:
    """Draw a token, filtering in llama.cpp's order.

    That order is bias, penalties, top_k, top_p, min_p, temperature. A draw takes one number from
    ``source``, and none at temperature 0.

    Args:
        logits: Tensor of one number for each token, of any floating type, on any device; it is
            left as it is.
        sampling: Settled: temperature None counts as 0, and repeat_penalty None as 1.
        history: Tokens of the answer so far.
        source: As ``generator`` gives it.
        logprobs: Likeliest tokens to report; None reports nothing.

    Raises:
        EngineError: No token has a finite logit that is the largest.
    """
    scores = _penalised(_biased(logits, sampling), sampling, history)
    token = _likeliest(scores) if not sampling.temperature else _drawn(scores, sampling, source)
    return Drawn(token) if logprobs is None else explained(token, logits, logprobs)


class Sampler:
    """Chooses the tokens of one answer; draws do not depend on what else is in a batch.

    Args:
        sampling: Settled.
        seed: Seed of the draws.
    """

    def __init__(self, sampling: Sampling, seed: int):
        self._sampling = sampling
        self._source = generator(seed)

    @property
    def plain(self) -> bool:
        """The likeliest token is taken, whatever was written before."""
        sampling = self._sampling
        return not (sampling.temperature or sampling.logit_bias or _penalises(sampling))

    def adjusted(self, logits: Any, history: Sequence[int]) -> Any:
        """Logits or log-probabilities with biases and penalties; the argument stays as it is."""
        return _penalised(_biased(logits, self._sampling), self._sampling, history)

    def draw(self, logits: Any, history: Sequence[int], logprobs: int | None) -> Drawn:
        """The next token; arguments and errors as of the function ``draw``."""
        return draw(logits, self._sampling, history, self._source, logprobs)


def explained(token: int, logits: Any, count: int) -> Drawn:
    """A token that was chosen, with its log-probability and the ``count`` likeliest beside it."""
    logprobs = logits.float().log_softmax(-1)
    values, tokens = logprobs.topk(min(count, logprobs.shape[-1]))
    top = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
    return Drawn(token, float(logprobs[token]), top)


def spelled(drawn: Drawn, piece: Callable[[int], bytes]) -> TokenLogprob | None:
    """What an answer reports of a token; None when that was not asked for.

    Args:
        drawn: As ``draw`` gives it.
        piece: Bytes of a token.
    """
    if drawn.logprob is None:
        return None
    return _spelled(
        piece(drawn.token),
        drawn.logprob,
        tuple(_spelled(piece(token), logprob) for token, logprob in drawn.top),
    )


def _spelled(data: bytes, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    return TokenLogprob(data.decode("utf-8", "replace"), tuple(data), logprob, top)


def _biased(logits: Any, sampling: Sampling) -> Any:
    if not sampling.logit_bias:
        return logits
    tokens, biases = zip(*sampling.logit_bias, strict=True)
    added = torch().tensor(biases, dtype=torch().float32, device=logits.device)
    return logits.float().index_add(0, _indices(tokens, logits), added)


def _penalises(sampling: Sampling) -> bool:
    penalty = sampling.repeat_penalty or 1.0
    return (penalty, sampling.presence_penalty, sampling.frequency_penalty) != (1.0, 0.0, 0.0)


def _penalised(logits: Any, sampling: Sampling, history: Sequence[int]) -> Any:
    penalty = sampling.repeat_penalty or 1.0
    per_token, per_use = sampling.presence_penalty, sampling.frequency_penalty
    start = max(0, len(history) - sampling.repeat_last_n) if sampling.repeat_last_n >= 0 else 0
    counts = Counter(history[start:])
    if not counts or not _penalises(sampling):
        return logits
    indices = _indices(list(counts), logits)
    old = logits[indices].float()
    uses = torch().tensor(list(counts.values()), dtype=torch().float32, device=logits.device)
    new = torch().where(old > 0, old / penalty, old * penalty) - per_token - per_use * uses
    return logits.float().index_copy(0, indices, new)


def _likeliest(scores: Any) -> int:
    best, token = scores.max(dim=-1)
    _check(float(best))
    return int(token)


def _drawn(scores: Any, sampling: Sampling, source: Any) -> int:
    lib = torch()
    size = scores.shape[-1]
    # What remains is kept in order of likelihood, so that a filter is a shorter prefix.
    kept, tokens = scores.float().topk(min(sampling.top_k or size, size))
    kept = kept.cpu()
    _check(float(kept[0]))
    if sampling.top_p < 1:
        before = kept.softmax(-1).cumsum(-1).roll(1)
        before[0] = 0.0
        kept = kept[: max(1, int((before < sampling.top_p).sum()))]
    if sampling.min_p > 0:
        kept = kept[: int((kept >= kept[0] + math.log(sampling.min_p)).sum())]
    shares = ((kept - kept[0]).double() / (sampling.temperature or 1.0)).softmax(-1).cumsum(-1)
    place = lib.searchsorted(
        shares, lib.rand(1, generator=source, dtype=lib.float64) * shares[-1], right=True
    )
    return int(tokens[min(int(place), len(kept) - 1)])


def _indices(tokens: Sequence[int], logits: Any) -> Any:
    return torch().tensor(tokens, dtype=torch().long, device=logits.device)


def _check(best: float) -> None:
    if not math.isfinite(best):
        raise EngineError(
            f"The model's largest logit is {best}, so that no token can be chosen.",
            hint="Its weights may be damaged, or too large for the dtype in use; or the request "
            "forbids every token.",
        )
