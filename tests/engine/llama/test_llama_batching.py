import random

import pytest

from llmspell_jupyter.engine.backend import Reading, Token
from llmspell_jupyter.types import Sampling
from tests.support.llama import agrees, ask, collect, run


def collect_in_order(backend):
    while backend.active:
        yield from backend.step()


# Without a penalty the two best logits are the two best log-probabilities.
PLAIN = Sampling(temperature=0, repeat_penalty=1.0)
# What follows is clear for many tokens.
PROMPTS = (
    "1, 2, 3, 4, 5, 6, 7, 8,",
    "Monday, Tuesday, Wednesday, Thursday,",
    "a b c d e f g h i j",
    "January, February, March, April, May,",
    "red green blue red green blue red green blue",
    "10 20 30 40 50 60 70",
    "2, 4, 6, 8, 10, 12, 14,",
    "ABC DEF ABC DEF ABC DEF ABC",
)


def greedy(prompt, **rest):
    return ask(prompt, **{"max_tokens": 24, "sampling": PLAIN, "logprobs": 2} | rest)


@pytest.fixture(scope="module")
def alone(smollm2_file):
    """Answers to prompts on a model that has seen nothing else."""
    from tests.support import llama

    known = {}

    def answer(prompt):
        if prompt not in known:
            backend = llama.load(smollm2_file, context_size=2048, max_concurrent=1)
            known[prompt] = run(backend, greedy(prompt))
            backend.close()
        return known[prompt]

    return answer


def test_eight_at_once_write_what_each_writes_alone(load, smollm2_file, alone):
    backend = load(smollm2_file, context_size=2048)
    for prompt in PROMPTS:
        backend.start(prompt, greedy(prompt), lambda: False)
    answers = collect(backend)
    compared = sum(agrees(answers[prompt], alone(prompt)) for prompt in PROMPTS)
    assert compared > 30
    batched = [answers[prompt][-1].usage["batched_steps"] for prompt in PROMPTS]
    assert min(batched) > 0 and max(batched) >= 20


def test_a_lone_answer_is_in_no_batch(smollm2):
    assert run(smollm2, ask("Water", max_tokens=4))[-1].usage["batched_steps"] == 0


def test_an_answer_gets_a_token_in_every_step_while_another_prompt_is_read(smollm2):
    prompt = "Counting: " + " ".join(map(str, range(410)))
    smollm2.start("x", ask("a b a b a b", max_tokens=200), lambda: False)
    while not any(isinstance(event, Token) for event in smollm2.step()):
        pass
    seen, read = [], []
    smollm2.start("y", ask(prompt, max_tokens=1), lambda: False)
    while not any(event.request_id == "y" and isinstance(event, Token) for event in seen):
        seen = smollm2.step()
        read += [event for event in seen if isinstance(event, Reading)]
        assert [type(each) for each in seen if each.request_id == "x"] == [Token]
    assert read[-1].total >= 1500 and len(read) > 3
    collect(smollm2)


def test_a_short_prompt_overtakes_a_long_one(load, smollm2_file):
    backend = load(smollm2_file, batch_size=64)
    backend.start("long", ask(" ".join(map(str, range(300))), max_tokens=1), lambda: False)
    first = backend.step()
    assert [type(event) for event in first] == [Reading]
    backend.start("short", ask("The sea", max_tokens=1), lambda: False)
    events = [event for event in collect_in_order(backend) if isinstance(event, Token)]
    assert [event.request_id for event in events] == ["short", "long"]


def test_one_that_shares_what_is_being_read_waits_for_it(load, smollm2_file):
    backend = load(smollm2_file, batch_size=64)
    shared = " ".join(map(str, range(200)))
    backend.start("first", ask(shared + " and on", max_tokens=1), lambda: False)
    backend.step()
    backend.start("second", ask(shared + " and off", max_tokens=1), lambda: False)
    usage = collect(backend)["second"][-1].usage
    assert usage["cached_tokens"] > 0.9 * usage["prompt_tokens"]


def test_decode_calls_are_counted(load, tiny_file):
    backend = load(tiny_file)
    run(backend, ask("the sea", max_tokens=5))
    assert backend.counts() == {"decode_calls": 5, "batched_decode_calls": 0}
    for name in "xy":
        backend.start(name, ask(f"{name} sea", max_tokens=5), lambda: False)
    collect(backend)
    counts = backend.counts()
    assert 3 <= counts["batched_decode_calls"] < counts["decode_calls"] <= 15


def test_one_answer_may_fill_the_context_and_others_have_room_beside_it(load, tiny_file):
    backend = load(tiny_file, context_size=256, max_concurrent=8)
    assert backend.describe()["shared_context_size"] == 512
    backend.start("whole", ask("the", max_tokens=500), lambda: False)
    for number in range(4):
        backend.start(str(number), ask("\x01" * 40, max_tokens=20), lambda: False)
    answers = collect(backend)
    usage = answers["whole"][-1].usage
    assert usage["prompt_tokens"] + usage["completion_tokens"] == 257
    assert all(len(answers[str(number)]) > 20 for number in range(4))


def test_a_single_answer_at_a_time_takes_no_more_room(load, tiny_file):
    assert load(tiny_file, max_concurrent=1).describe()["shared_context_size"] == 256


@pytest.mark.parametrize("max_concurrent", [1, 4])
def test_many_requests_that_share_beginnings_and_are_cancelled(load, tiny_file, max_concurrent):
    """llama.cpp refuses a batch when more is in the context than was counted."""
    draw = random.Random(7)
    beginnings = ["".join(draw.choices("abcdef", k=length)) for length in (10, 60, 100)]
    prompts = [
        draw.choice(beginnings) + "".join(draw.choices("xyz", k=draw.randrange(60)))
        for _ in range(60)
    ]
    expected = {prompt: run(load(tiny_file), greedy(prompt)) for prompt in prompts[::6]}
    backend = load(tiny_file, context_size=256, max_concurrent=max_concurrent)
    limits = {
        name: draw.choice((3, 20, 10_000)) if prompt not in expected else 10_000
        for name, prompt in enumerate(prompts)
    }
    asked = dict.fromkeys(limits, 0)

    def stopped(name):
        asked[name] += 1
        return asked[name] > limits[name]

    events = []
    for name, prompt in enumerate(prompts):
        backend.start(name, greedy(prompt), lambda name=name: stopped(name))
        for _ in range(draw.randrange(8)):
            events += backend.step()
    answers = collect(backend, events)
    assert {answers[name][-1].reason for name in limits} >= {"cancelled", "length"}
    assert sum(answers[name][-1].usage["cached_tokens"] for name in limits) > 300
    for name, prompt in enumerate(prompts):
        if answers[name][-1].reason != "cancelled" and prompt in expected:
            agrees(answers[name], expected[prompt])
