from collections import Counter

import pytest
import torch

from llmspell_jupyter.engine.backends._torch.sampling import (
    CONTROLS,
    check_biases,
    draw,
    generator,
    spelled,
)
from llmspell_jupyter.errors import EngineError, RequestError
from llmspell_jupyter.types import Sampling

# Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625.
LOGITS = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625]).log()
OPEN = {"top_k": 0, "top_p": 1.0, "repeat_penalty": 1.0}


def draws(count=4000, history=(), logits=LOGITS, **changes):
    """How often each token is drawn."""
    sampling = Sampling(**({"temperature": 1.0, **OPEN} | changes))
    source = generator(1)
    return Counter(draw(logits, sampling, history, source, None).token for _ in range(count))


def greedy(history=(), logits=LOGITS, **changes):
    sampling = Sampling(**({"temperature": 0, "repeat_penalty": 1.0} | changes))
    return draw(logits, sampling, history, None, None).token


def test_draws_follow_the_probabilities():
    for token, count in draws(20_000).items():
        assert count / 20_000 == pytest.approx(float(LOGITS[token].exp()), abs=0.015)


def test_temperature():
    squared = LOGITS.mul(2).softmax(-1)
    for token, count in draws(20_000, temperature=0.5).items():
        assert count / 20_000 == pytest.approx(float(squared[token]), abs=0.015)
    assert greedy() == 0
    assert set(draws(200, temperature=0.01)) == {0}


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"top_k": 1}, {0}),
        ({"top_k": 2}, {0, 1}),
        ({"top_k": 99}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.0}, {0}),
        ({"top_p": 0.5}, {0}),
        ({"top_p": 0.6}, {0, 1}),
        ({"top_p": 0.76}, {0, 1, 2}),
        ({"min_p": 0.4}, {0, 1}),
        ({"min_p": 1.0}, {0}),
        # 0.5 of what top_k left, 0.75, is two thirds.
        ({"top_k": 2, "top_p": 0.66}, {0}),
        ({"logit_bias": ((0, float("-inf")), (1, float("-inf")))}, {2, 3, 4}),
        ({"logit_bias": ((4, 50.0),)}, {4}),
        # Filters see the probabilities before the temperature.
        ({"temperature": 5.0, "top_p": 0.6}, {0, 1}),
    ],
)
def test_filters(change, kept):
    assert set(draws(**change)) == kept


def test_penalties_count_what_is_recent():
    assert greedy([0], repeat_penalty=3.0) == 1
    assert greedy([0, 1, 2], repeat_penalty=1.01) == 0
    assert greedy([0, 4, 4], repeat_penalty=9.0, repeat_last_n=2) == 0
    assert greedy([0, 4, 4], repeat_penalty=9.0, repeat_last_n=-1) == 1
    assert greedy([0], repeat_penalty=9.0, repeat_last_n=0) == 0
    assert greedy([0], presence_penalty=1.0) == 1
    assert greedy([0, 0], frequency_penalty=0.4) == 1
    assert greedy([0, 0], presence_penalty=0.4) == 0
    positive = torch.tensor([2.0, 1.5])
    assert greedy([0], logits=positive, repeat_penalty=1.3) == 0
    assert greedy([0], logits=positive, repeat_penalty=1.4) == 1


def test_a_seed_repeats():
    def write(seed, **options):
        source = generator(seed)
        sampling = Sampling(temperature=1.0, **OPEN | options)
        return [draw(LOGITS, sampling, (), source, None).token for _ in range(50)]

    assert write(7) == write(7)
    assert write(7) != write(8)
    # A filter that takes nothing away changes nothing.
    assert write(7, top_k=5, min_p=0.01) == write(7)


def test_log_probabilities_are_those_of_the_model():
    sampling = Sampling(
        temperature=0, repeat_penalty=9.0, top_k=1, logit_bias=((3, 20.0), (4, 30.0))
    )
    drawn = draw(LOGITS, sampling, [4], None, 2)
    assert drawn.token == 3
    assert drawn.logprob == pytest.approx(float(LOGITS[3]))
    assert [token for token, _ in drawn.top] == [0, 1]
    assert drawn.top[0][1] == pytest.approx(float(LOGITS[0]))
    told = spelled(drawn, lambda token: b"\xe2" if token == 0 else b"word")
    assert (told.token, told.top[0].token, told.top[0].bytes) == ("word", "\ufffd", (0xE2,))
    assert spelled(draw(LOGITS, sampling, (), None, None), bytes) is None
    assert draw(LOGITS, sampling, (), None, 0).top == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_any_type_and_the_row_stays_as_it_is(dtype):
    row = LOGITS.to(dtype)
    before = row.clone()
    sampling = Sampling(temperature=1.0, repeat_penalty=1.2, logit_bias=((1, 2.0),))
    draw(row, sampling, [0], generator(0), 3)
    assert torch.equal(row, before)


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_number_is_an_error(temperature, value):
    row = torch.full((4,), value)
    with pytest.raises(EngineError, match="largest logit"):
        draw(row, Sampling(temperature=temperature), (), generator(0), None)


def test_a_bias_on_no_token():
    check_biases(Sampling(logit_bias=((4, 1.0),)), 5)
    with pytest.raises(RequestError, match="names token 5"):
        check_biases(Sampling(logit_bias=((5, 1.0),)), 5)


def test_controls_are_fields():
    assert set(Sampling.__dataclass_fields__) | {"logprobs"} >= CONTROLS
