"""How the next token is chosen."""

from __future__ import annotations

import ctypes
import faulthandler
from collections.abc import Iterator
from time import thread_time
from typing import Any

from llmspell_jupyter.engine.backends._llama.candidates import Candidates
from llmspell_jupyter.engine.backends._llama.vocabulary import Vocabulary
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import Sampling

#: Fields of ``Sampling`` that a chain acts on.
CONTROLS = frozenset(Sampling.__dataclass_fields__) - {"num_beams", "length_penalty"}

# What a mirostat sampler of the first kind looks at; the figure of its paper and of llama.cpp.
_MIROSTAT_TOKENS = 100

# Seconds after which a grammar is given up: between two calls, and in the middle of one, which
# cannot be interrupted other than by ending the process.
_SLOW_GRAMMAR = 2.0
_HUNG_GRAMMAR = 20.0


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        lib: The library.
        vocabulary: Of the model.
        sampling: Settled controls.
        seed: Of the draws.
        context_size: What ``repeat_last_n`` of -1 means, in tokens.
        grammar: GBNF that the answer follows; None is free text.

    Raises:
        RequestError: A bias is for a token that the model has not, or llama.cpp refuses the
            grammar.
    """

    def __init__(
        self,
        lib: Any,
        vocabulary: Vocabulary,
        sampling: Sampling,
        seed: int,
        context_size: int,
        grammar: str | None = None,
    ):
        self._lib = lib
        _check_biases(sampling, vocabulary.size)
        self._constraint = _Constraint(lib, vocabulary, sampling, grammar) if grammar else None
        self._chain = _new_chain(lib, vocabulary, sampling, seed, context_size)

    def sample(self, context: Any, row: int) -> int:
        """The next token, from the logits of a row of the last batch.

        Raises:
            RequestError: The grammar leaves no token to choose, or takes too long.
        """
        if self._constraint is None:
            token: int = self._lib.llama_sampler_sample(self._chain, context, row)
            return token
        token = self._constraint.choose(self._chain, context, row)
        self._lib.llama_sampler_accept(self._chain, token)
        return token

    def free(self) -> None:
        """Give back native memory."""
        self._lib.llama_sampler_free(self._chain)
        if self._constraint is not None:
            self._constraint.free()


def _new_chain(
    lib: Any, vocabulary: Vocabulary, sampling: Sampling, seed: int, context_size: int
) -> Any:
    """Samplers in the order of llama.cpp's own; those that are off are left out.

    Only tokens of the answer are penalised, not those of the prompt.
    """
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for sampler in _samplers(lib, vocabulary, sampling, seed, context_size):
        lib.llama_sampler_chain_add(chain, sampler)
    return chain


def _samplers(
    lib: Any, vocabulary: Vocabulary, sampling: Sampling, seed: int, context_size: int
) -> Iterator[Any]:
    if sampling.logit_bias:
        biases = (lib.llama_logit_bias * len(sampling.logit_bias))(*sampling.logit_bias)
        yield lib.llama_sampler_init_logit_bias(vocabulary.size, len(biases), biases)
    yield lib.llama_sampler_init_penalties(
        vocabulary.size,
        _recent(sampling.repeat_last_n, context_size),
        sampling.repeat_penalty,
        sampling.frequency_penalty,
        sampling.presence_penalty,
    )
    if sampling.dry_multiplier:
        breakers = [text.encode() for text in sampling.dry_sequence_breakers]
        yield lib.llama_sampler_init_dry(
            vocabulary.handle,
            sampling.dry_multiplier,
            sampling.dry_base,
            sampling.dry_allowed_length,
            _recent(sampling.dry_penalty_last_n, context_size),
            (ctypes.c_char_p * len(breakers))(*breakers),
            len(breakers),
        )
    if sampling.temperature == 0:
        yield lib.llama_sampler_init_greedy()
    elif sampling.mirostat:
        yield lib.llama_sampler_init_temp(sampling.temperature)
        yield _mirostat(lib, vocabulary, sampling, seed)
    else:
        yield from _filters(lib, sampling, seed)
        yield lib.llama_sampler_init_dist(seed)


def _filters(lib: Any, sampling: Sampling, seed: int) -> Iterator[Any]:
    if sampling.top_n_sigma:
        yield lib.llama_sampler_init_top_n_sigma(sampling.top_n_sigma)
    yield lib.llama_sampler_init_top_k(sampling.top_k)
    if sampling.typical_p < 1:
        yield lib.llama_sampler_init_typical(sampling.typical_p, 1)
    yield lib.llama_sampler_init_top_p(sampling.top_p, 1)
    yield lib.llama_sampler_init_min_p(sampling.min_p, 1)
    if sampling.xtc_probability:
        yield lib.llama_sampler_init_xtc(sampling.xtc_probability, sampling.xtc_threshold, 1, seed)
    if sampling.dynatemp_range:
        yield lib.llama_sampler_init_temp_ext(
            sampling.temperature, sampling.dynatemp_range, sampling.dynatemp_exponent
        )
    else:
        yield lib.llama_sampler_init_temp(sampling.temperature)


def _mirostat(lib: Any, vocabulary: Vocabulary, sampling: Sampling, seed: int) -> Any:
    aim, pace = sampling.mirostat_tau, sampling.mirostat_eta
    if sampling.mirostat == 2:
        return lib.llama_sampler_init_mirostat_v2(seed, aim, pace)
    return lib.llama_sampler_init_mirostat(vocabulary.size, seed, aim, pace, _MIROSTAT_TOKENS)


def _recent(count: int, context_size: int) -> int:
    return context_size if count < 0 else min(count, context_size)


def _check_biases(sampling: Sampling, vocabulary_size: int) -> None:
    for token, _ in sampling.logit_bias:
        if token >= vocabulary_size:
            raise RequestError(
                f"logit_bias names token {token}; this model's tokens are 0 to "
                f"{vocabulary_size - 1}.",
                data={"field": "logit_bias", "value": token},
            )
    if len({token for token, bias in sampling.logit_bias if bias == -float("inf")}) >= (
        vocabulary_size
    ):
        raise RequestError(
            "logit_bias forbids every token of this model.", data={"field": "logit_bias"}
        )


class _Constraint:
    """A grammar beside a chain of samplers.

    Looking at every token costs a third of a decode, so a token is drawn as if there were no
    grammar; only one that the grammar does not allow is drawn again, from those that it does.
    """

    def __init__(self, lib: Any, vocabulary: Vocabulary, sampling: Sampling, grammar: str):
        self._lib = lib
        self._tokens = Candidates(lib, vocabulary.size)
        self._one = Candidates(lib, 1)
        self._forbidden = [token for token, bias in sampling.logit_bias if bias == -float("inf")]
        # Mirostat learns from each draw, so it may draw but once.
        self._draws_once = sampling.mirostat > 0 and sampling.temperature != 0
        with Watch():
            self._grammar = lib.llama_sampler_init_grammar(
                vocabulary.handle, grammar.encode(), b"root"
            )
        if not self._grammar:
            raise RequestError("llama.cpp refuses the grammar.", data={"field": "grammar"})

    def choose(self, chain: Any, context: Any, row: int) -> int:
        with Watch():
            self._tokens.fill(context, row)
            token = -1 if self._draws_once else self._tokens.draw(chain)
            if not self._allows(token):
                token = self._choose_allowed(chain, context, row)
            self._lib.llama_sampler_accept(self._grammar, token)
        return token

    def free(self) -> None:
        self._lib.llama_sampler_free(self._grammar)

    def _choose_allowed(self, chain: Any, context: Any, row: int) -> int:
        self._tokens.fill(context, row)
        self._tokens.forbid(self._forbidden)
        self._tokens.apply(self._grammar)
        token = self._tokens.draw(chain) if self._tokens.any_left() else -1
        # To accept a token that the grammar does not allow would end the process.
        if not self._allows(token):
            raise RequestError(
                "No token of this model goes on as the grammar wants.",
                hint="Look for a part of the grammar that no text can follow.",
                data={"field": "grammar"},
            )
        return token

    def _allows(self, token: int) -> bool:
        if token < 0:
            return False
        self._one.set(token)
        self._one.apply(self._grammar)
        return self._one.any_left()


class Watch:
    """Ends what a grammar began and does not finish.

    There are grammars of a few lines that take llama.cpp years, and no call of it can be
    interrupted. One that comes back late is an error; for one that does not, this process ends,
    which costs its model's other answers but nothing else.

    Args:
        seconds: After which the process ends.
    """

    def __init__(self, seconds: float = _HUNG_GRAMMAR):
        self._seconds = seconds

    def __enter__(self) -> None:
        faulthandler.dump_traceback_later(self._seconds, exit=True)
        self._began = thread_time()

    def __exit__(self, kind: Any, *_: Any) -> None:
        faulthandler.cancel_dump_traceback_later()
        if kind is None and thread_time() - self._began > _SLOW_GRAMMAR:
            raise RequestError(
                f"The grammar takes more than {_SLOW_GRAMMAR:g} s for one token.",
                hint="Write it so that each text can be read in one way only.",
                data={"field": "grammar"},
            )
