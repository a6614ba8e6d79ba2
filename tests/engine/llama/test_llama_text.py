import llama_cpp
import pytest

from llmspell_jupyter.engine.backend import Finished, Reading, Token
from llmspell_jupyter.errors import ContextOverflow, RequestError
from llmspell_jupyter.types import GenerationRequest, Message, Sampling
from tests.support.llama import ask, collect, run, say, text

LONG = "The sea is deep and blue. " * 120


@pytest.fixture(scope="module")
def high_level(smollm2_file):
    """The library's own class, on the same file with the same settings."""
    model = llama_cpp.Llama(
        str(smollm2_file),
        n_ctx=2048,
        n_threads=1,
        n_threads_batch=2,
        flash_attn=True,
        verbose=False,
    )
    yield model
    model.close()


# The same text as the library's own class


@pytest.mark.parametrize(
    "prompt",
    ["The capital of France is", "def add(a, b):", "Der Himmel ist", "😀 is", " ", "\n\n1. "],
)
def test_completion_equals_the_high_level_class(smollm2, high_level, prompt):
    theirs = high_level.create_completion(prompt, max_tokens=24, temperature=0, repeat_penalty=1.1)
    ours = run(smollm2, ask(prompt, max_tokens=24))
    assert text(ours) == theirs["choices"][0]["text"]
    assert ours[-1].reason == theirs["choices"][0]["finish_reason"]
    usage = {key: ours[-1].usage[key] for key in ("prompt_tokens", "completion_tokens")}
    assert usage == {key: theirs["usage"][key] for key in usage}


@pytest.mark.parametrize(
    "messages",
    [
        say("Define gravity in one sentence."),
        say("What is 2+2?"),
        (Message("system", "You are a poet."), Message("user", "Write about the sea.")),
        (
            Message("user", "My name is Ada."),
            Message("assistant", "Hello Ada."),
            Message("user", "What is my name?"),
        ),
    ],
)
def test_chat_equals_the_high_level_class(smollm2, high_level, messages):
    theirs = high_level.create_chat_completion(
        [{"role": each.role, "content": each.content} for each in messages],
        max_tokens=24,
        temperature=0,
        repeat_penalty=1.1,
    )
    ours = run(smollm2, ask(messages, max_tokens=24))
    assert text(ours) == theirs["choices"][0]["message"]["content"]
    assert ours[-1].reason == theirs["choices"][0]["finish_reason"]
    assert ours[-1].usage["prompt_tokens"] == theirs["usage"]["prompt_tokens"]


def test_sampling_equals_the_high_level_class(smollm2, high_level):
    theirs = high_level.create_completion(
        "Once upon a time",
        max_tokens=24,
        temperature=0.9,
        top_p=0.8,
        top_k=30,
        min_p=0.05,
        repeat_penalty=1.3,
        seed=7,
    )
    sampling = Sampling(
        temperature=0.9, top_p=0.8, top_k=30, min_p=0.05, repeat_penalty=1.3, seed=7
    )
    ours = run(smollm2, ask("Once upon a time", max_tokens=24, sampling=sampling))
    assert text(ours) == theirs["choices"][0]["text"]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ask("a", max_tokens=0), "max_tokens"),
        (ask("a", max_tokens=1.5), "max_tokens"),
        (ask("a", stop=("",)), "stop"),
        (ask("a", stop=("x",) * 17), "stop"),
        (ask(()), "messages"),
        (ask((Message("robot", "x"),)), "messages"),
        (ask("\ud800"), "prompt"),
        (ask("x" * 3_000_000), "prompt"),
        (GenerationRequest("a-model"), "messages"),
        (GenerationRequest("a-model", prompt="a", messages=say("a")), "messages"),
    ],
)
def test_request_out_of_range(load, tiny_file, request_, field):
    with pytest.raises(RequestError, match=field):
        load(tiny_file).start("r", request_, lambda: False)


# Ends of an answer


def test_stop_string_over_token_borders(smollm2):
    whole = run(smollm2, ask("The capital of France is"))
    pieces = [event.text for event in whole if isinstance(event, Token)]
    # From the middle of one token to the middle of the one after the next.
    stop = pieces[3][1:] + pieces[4] + pieces[5][:1]
    events = run(smollm2, ask("The capital of France is", stop=("never", stop)))
    assert text(events) == text(whole)[: text(whole).index(stop)]
    assert events[-1].reason == "stop"
    assert [event.tokens for event in events if isinstance(event, Token)] == [1, 2, 3, 4, 5, 6]


def test_stop_string_that_never_comes_changes_nothing(smollm2):
    whole = text(run(smollm2, ask("The capital of France is")))
    stops = (whole[5:9] + "\0", whole[-3:] + "\0")
    events = run(smollm2, ask("The capital of France is", stop=stops))
    assert (text(events), events[-1].reason) == (whole, "length")


def test_characters_arrive_whole(smollm2):
    """One emoji is several tokens; the model repeats those that it is shown."""
    prompt = "😀😁😂🤣😃😄😀😁😂🤣😃😄😀😁😂"
    events = run(smollm2, ask(prompt, sampling=Sampling(temperature=0, repeat_penalty=1.0)))
    assert any(event.text == "" for event in events if isinstance(event, Token))
    assert any(ord(letter) > 0xFFFF for letter in text(events))
    assert "\ufffd" not in text(events)


def test_full_context_ends_the_answer(load, tiny_file):
    backend = load(tiny_file, context_size=32)
    events = run(backend, ask("a b c", max_tokens=500))
    usage = events[-1].usage
    assert events[-1].reason == "length"
    # The last token of an answer is not decoded and needs no place.
    assert usage["prompt_tokens"] + usage["completion_tokens"] == 33
    assert usage["completion_tokens"] == [e.tokens for e in events if isinstance(e, Token)][-1]


def test_longest_prompt_and_one_more(load, tiny_file):
    backend = load(tiny_file, context_size=64)
    fitting = "\x01" * 62  # One token a byte, after the one that begins and a space.
    events = run(backend, ask(fitting))
    assert (events[-1].usage["prompt_tokens"], events[-1].usage["completion_tokens"]) == (64, 1)
    assert events[-1].reason == "length"
    with pytest.raises(ContextOverflow) as caught:
        backend.start("r", ask(fitting + "\x01"), lambda: False)
    facts = caught.value.data
    assert (facts["prompt_tokens"], facts["context_size"], facts["over_by"]) == (65, 64, 1)
    assert facts["ledger"] == {"system": 0, "history": 0, "tools": 0, "prompt": 65, "template": 0}
    assert "context_size" in caught.value.hint and "shorten" in caught.value.hint
    assert backend.active == 0


def test_no_larger_context_is_offered_than_the_model_has(load, tiny_file):
    backend = load(tiny_file, context_size=4096)
    assert backend.describe()["context_size"] == 256
    with pytest.raises(ContextOverflow) as caught:
        backend.start("r", ask("\x01" * 300), lambda: False)
    assert "context_size" not in caught.value.hint


def test_the_ledger_of_a_conversation_adds_up(load, tiny_file):
    backend = load(tiny_file, context_size=64)
    messages = (
        Message("system", "the sea is blue"),
        Message("user", "\x01" * 40),
        Message("assistant", "hello world"),
        Message("user", "\x01" * 20),
    )
    with pytest.raises(ContextOverflow) as caught:
        backend.start("r", ask(messages), lambda: False)
    facts = caught.value.data
    parts = facts["ledger"]
    assert sum(parts.values()) == facts["prompt_tokens"]
    assert min(parts[name] for name in ("system", "history", "prompt", "template")) > 0
    assert parts["history"] > parts["prompt"] > parts["system"]
    assert "new conversation" in caught.value.hint


@pytest.mark.parametrize(
    ("messages", "instructed"),
    [
        (say("hello"), True),
        ((Message("system", "the sea"), Message("user", "hello")), False),
    ],
)
def test_a_persona_stands_in_for_instructions(tiny, messages, instructed):
    """It makes the prompt that its own message would make, and none where there is one."""

    def prompt_tokens(messages, **rest):
        return run(tiny, ask(messages, max_tokens=1, **rest))[-1].usage["prompt_tokens"]

    spoken = (Message("system", "a b c"), *messages) if instructed else messages
    assert prompt_tokens(messages, persona="a b c") == prompt_tokens(spoken)
    assert (prompt_tokens(spoken) > prompt_tokens(messages)) == instructed


def test_a_plain_prompt_is_given_no_persona(tiny):
    plain = run(tiny, ask("hello", max_tokens=1))[-1].usage["prompt_tokens"]
    given = run(tiny, ask("hello", max_tokens=1, persona="a b c"))[-1].usage["prompt_tokens"]
    assert given == plain


def test_empty_prompt(load, tiny_file, smollm2):
    assert run(load(tiny_file), ask(""))[-1].usage["prompt_tokens"] == 1
    assert run(smollm2, ask("", max_tokens=4))[-1].usage["completion_tokens"] == 4


def test_usage_and_progress(load, smollm2_file):
    smollm2 = load(smollm2_file, context_size=2048, cpu_threads=2)
    events = run(smollm2, ask(LONG, max_tokens=4))
    readings = [event for event in events if isinstance(event, Reading)]
    usage = events[-1].usage
    total = usage["prompt_tokens"]
    done = [event.done for event in readings]
    assert done == sorted(set(done)) and done[0] == 64 and done[-1] == total
    assert {event.total for event in readings} == {total}
    assert set(usage) == {
        "prompt_tokens",
        "completion_tokens",
        "batched_steps",
        "cached_tokens",
        "seed",
        "time_to_first_token_ms",
        "prompt_ms",
        "tokens_per_second",
    }
    assert 0 < usage["prompt_ms"] <= usage["time_to_first_token_ms"]
    assert usage["tokens_per_second"] > 0
    assert run(smollm2, ask("a", max_tokens=1))[-1].usage["tokens_per_second"] is None


# Cancelling


def test_cancelled_before_it_began(smollm2):
    events = run(smollm2, ask(LONG), stopped=lambda: True)
    assert [event.reason for event in events] == ["cancelled"]
    assert events[0].usage["completion_tokens"] == 0


def test_cancelled_while_reading(smollm2):
    """Native code asks after every operation; the 20th answer is in the middle of a slice."""
    expected = text(run(smollm2, ask("The capital of France is", max_tokens=8)))
    asked = []

    def stopped():
        asked.append(None)
        return len(asked) > 20

    events = run(smollm2, ask("Never " + LONG), stopped)
    assert [type(event) for event in events] == [Finished]
    assert events[0].reason == "cancelled"
    assert 20 < len(asked) < 30
    assert text(run(smollm2, ask("The capital of France is", max_tokens=8))) == expected


def test_cancelled_while_answering(smollm2):
    whole = text(run(smollm2, ask("The capital of France is")))
    seen = []
    smollm2.start("r", ask("The capital of France is"), lambda: len(seen) >= 5)
    while smollm2.active:
        seen += smollm2.step()
    assert seen[-1].reason == "cancelled"
    assert text(seen) and whole.startswith(text(seen)) and text(seen) != whole
    assert text(run(smollm2, ask("The capital of France is"))) == whole


# Several requests


def test_requests_beyond_the_room_wait_their_turn(load, tiny_file):
    backend = load(tiny_file)
    single = [text(run(backend, ask(prompt))) for prompt in ("the sea", "hello")]
    for name, prompt in (("x", "the sea"), ("y", "hello"), ("z", "never")):
        backend.start(name, ask(prompt), lambda name=name: name == "z")
    assert backend.active == 3
    answers = collect(backend)
    assert [text(answers[name]) for name in "xy"] == single
    assert answers["z"][-1].reason == "cancelled"


def test_a_batch_of_several_gives_each_its_own_answer(load, tiny_file):
    prompts = [f"{word} " * count for word in ("the", "sea") for count in (1, 7, 40)]
    single = [text(run(load(tiny_file), ask(prompt))) for prompt in prompts]
    backend = load(tiny_file, max_concurrent=3, context_size=256)
    for number, prompt in enumerate(prompts):
        backend.start(str(number), ask(prompt), lambda: False)
    answers = collect(backend)
    assert [text(answers[str(number)]) for number in range(len(prompts))] == single


def test_an_aborted_prompt_does_not_disturb_the_answers_beside_it(load, tiny_file):
    single = text(run(load(tiny_file), ask("the sea")))
    backend = load(tiny_file, max_concurrent=3)
    events = []
    backend.start("x", ask("the sea"), lambda: False)
    for _ in range(4):
        events += backend.step()
    asked = []

    def stopped():
        asked.append(None)
        return len(asked) > 5

    backend.start("y", ask("\x01" * 150), stopped)
    answers = collect(backend, events)
    assert [event.reason for event in answers["y"]] == ["cancelled"]
    assert text(answers["x"]) == single
