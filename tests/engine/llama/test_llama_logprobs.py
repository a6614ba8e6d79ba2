import math

import numpy as np
import pytest

from llmspell_jupyter.engine.backend import Token
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import Sampling
from tests.support.llama import ask, events_of, run


def logprobs(backend, prompt, count, **rest):
    events = run(backend, ask(prompt, logprobs=count, **rest))
    return [event.logprob for event in events if isinstance(event, Token)]


def test_a_greedy_token_is_the_likeliest(smollm2):
    for each in logprobs(
        smollm2,
        "The capital of France is",
        5,
        sampling=Sampling(temperature=0, repeat_penalty=1.0),
        max_tokens=6,
    ):
        assert each.top[0] == each.__class__(each.token, each.bytes, each.logprob)
        values = [one.logprob for one in each.top]
        assert len(values) == 5 and values == sorted(values, reverse=True)
        assert sum(map(math.exp, values)) <= 1 + 1e-9


def test_they_equal_those_of_the_library(smollm2, smollm2_file):
    import llama_cpp

    plain = llama_cpp.Llama(
        str(smollm2_file), n_ctx=256, n_threads=1, logits_all=True, flash_attn=True, verbose=False
    )
    theirs = plain.create_completion(
        "The capital of France is", max_tokens=1, temperature=0, logprobs=4
    )
    plain.close()
    [ours] = logprobs(smollm2, "The capital of France is", 4, max_tokens=1)
    theirs = theirs["choices"][0]["logprobs"]
    assert ours.token == theirs["tokens"][0]
    assert ours.logprob == pytest.approx(theirs["token_logprobs"][0], abs=1e-2)
    assert [one.token for one in ours.top] == list(theirs["top_logprobs"][0])[:4]


def test_filters_and_biases_do_not_show(tiny):
    drawn = Sampling(temperature=0.2, top_k=2, repeat_penalty=3.0, seed=1, logit_bias=((70, 50.0),))
    [one] = logprobs(tiny, "the sea", 0, sampling=drawn, max_tokens=1)
    assert one.top == () and one.bytes == (ord("C"),)
    [other] = logprobs(tiny, "the sea", 20, sampling=Sampling(temperature=0), max_tokens=1)
    assert one.logprob < other.logprob <= 0


def test_half_a_character_is_shown_by_its_bytes(tiny):
    bias = Sampling(temperature=0, logit_bias=((3 + 0xF0, 100.0),))
    [one] = logprobs(tiny, "the sea", 0, sampling=bias, max_tokens=1)
    assert (one.token, one.bytes) == ("\ufffd", (0xF0,))


def test_nobody_asked(tiny):
    assert all(e.logprob is None for e in run(tiny, ask("a")) if isinstance(e, Token))
    with pytest.raises(RequestError, match="logprobs"):
        events_of(tiny, ask("a", logprobs=21))


def test_all_of_a_vocabulary_sums_to_one(tiny):
    """The 20 likeliest of 285 tokens, so the sum is below 1 and their ratio that of softmax."""
    [one] = logprobs(tiny, "the sea", 20, max_tokens=1)
    assert 0 < np.exp([each.logprob for each in one.top]).sum() < 1
    assert len({each.bytes for each in one.top}) > 10
