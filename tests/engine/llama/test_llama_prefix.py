import pytest

from llmspell_jupyter.engine.backend import Failed, Reading, Token
from llmspell_jupyter.types import Message, Sampling
from tests.support import llama
from tests.support.llama import agrees, ask, collect, events_of, run, text, vectors

PLAIN = Sampling(temperature=0, repeat_penalty=1.0)
SYSTEM = "You answer questions about the sea, its plants and its animals. " * 12


def chat(*contents, **rest):
    messages = (
        Message("system", SYSTEM),
        *(Message(("user", "assistant")[i % 2], each) for i, each in enumerate(contents)),
    )
    return ask(messages, **{"max_tokens": 16, "sampling": PLAIN, "logprobs": 2} | rest)


def cached(events):
    return events[-1].usage["cached_tokens"]


@pytest.fixture(scope="module")
def alone(smollm2_file):
    """The answer of a model that has seen nothing else."""

    def answer(request):
        backend = llama.load(smollm2_file, context_size=1024)
        events = run(backend, request)
        backend.close()
        return events

    return answer


def test_a_request_asked_again_reads_one_token(load, smollm2_file, alone):
    backend = load(smollm2_file, context_size=1024)
    first, again = (run(backend, chat("What is a whale?")) for _ in range(2))
    prompt = first[-1].usage["prompt_tokens"]
    assert (cached(first), cached(again)) == (0, prompt - 1)
    readings = [event for event in again if isinstance(event, Reading)]
    assert [(event.done, event.total, event.cached) for event in readings] == [
        (prompt, prompt, prompt - 1)
    ]
    assert agrees(again, alone(chat("What is a whale?"))) >= 3


def test_a_conversation_goes_on_from_its_last_answer(load, smollm2_file, alone):
    backend = load(smollm2_file, context_size=1024)
    first = run(backend, chat("What is a whale?"))
    further = chat("What is a whale?", text(first), "And a shark?")
    events = run(backend, further)
    usage = first[-1].usage
    # All that was decoded; the last token of the answer was not.
    assert cached(events) >= usage["prompt_tokens"] + usage["completion_tokens"] - 3
    assert agrees(events, alone(further)) >= 1
    # What came before was left as it was, by a copy or at the end of what took over.
    assert agrees(run(backend, chat("What is a whale?")), first) >= 3


def test_conversations_with_the_same_system_prompt_share_it(load, smollm2_file, alone):
    backend = load(smollm2_file, context_size=1024)
    asked = [chat(each) for each in ("What is a whale?", "Name a fish.", "What is kelp?")]
    for number, request in enumerate(asked):
        backend.start(number, request, lambda: False)
    answers = collect(backend)
    shared = [cached(answers[number]) for number in range(3)]
    assert shared[0] == 0
    # They need not wait for the last 31 tokens of what they share, about 170 of 176.
    assert min(shared[1:]) > 0.7 * answers[0][-1].usage["prompt_tokens"]
    assert sum(agrees(answers[i], alone(each)) for i, each in enumerate(asked)) >= 3


def test_after_a_cancel_in_the_middle_of_a_prompt(load, smollm2_file, alone):
    backend = load(smollm2_file, context_size=1024, batch_size=64)
    seen, asked = [], []

    def stopped():
        if any(isinstance(event, Reading) for event in seen):
            asked.append(None)
        return len(asked) > 20

    backend.start("r", chat("What is a whale?"), stopped)
    while backend.active:
        seen += backend.step()
    assert seen[-1].reason == "cancelled" and not any(isinstance(e, Token) for e in seen)
    events = run(backend, chat("What is a whale?"))
    assert cached(events) == 64
    assert agrees(events, alone(chat("What is a whale?"))) >= 3


def test_after_a_failure(load, tiny_file):
    expected = text(run(load(tiny_file), ask("the sea is blue")))
    backend = load(tiny_file)
    every = Sampling(
        temperature=0, logit_bias=tuple((token, -float("inf")) for token in range(200))
    )
    refused = ask("the sea is blue", grammar='root ::= "a" | "b"', sampling=every)
    assert isinstance(events_of(backend, refused)[-1], Failed)
    for _ in range(2):
        assert text(run(backend, ask("the sea is blue"))) == expected


def test_the_oldest_gives_way(load, tiny_file):
    """Two prompts of 100 tokens and their answers fit; of three the one used longest ago goes."""
    prompts = [letter * 80 for letter in "abc"]
    backend = load(tiny_file, context_size=256, max_concurrent=1)
    expected = [text(run(load(tiny_file), ask(prompt, max_tokens=8))) for prompt in prompts]

    def again(number):
        events = run(backend, ask(prompts[number], max_tokens=8))
        assert text(events) == expected[number]
        return cached(events) > 70

    assert [again(number) for number in (0, 1, 0, 2, 0, 1)] == [
        *(False, False, True, False, True, False)
    ]


def test_vectors_are_those_of_a_fresh_model(load, tiny_file):
    backend = load(tiny_file)
    run(backend, ask("the sea"))
    assert (vectors(backend, "the sea") == vectors(load(tiny_file), "the sea")).all()
