"""What every backend of T5 has to do; each test runs on all of them."""

from __future__ import annotations

import pytest

from llmspell_jupyter.engine.backend import Finished, Reading, Token, Tokenized
from llmspell_jupyter.errors import BadModelFile, ContextOverflow, RequestError
from llmspell_jupyter.types import EmbeddingRequest, Message, TokenizeRequest
from tests.engine.t5.conftest import PROMPTS, ask, collect, left_to_torch, run, text

# Models of each kind; the seeds are of those whose choices are clear.
MATRIX = {
    "first": {"tokenizer": "json", "seed": 3},
    "gated": {"tokenizer": "spiece", "feed_forward": "gated-gelu", "tied": False, "seed": 1},
    "gated-silu": {"tokenizer": "json", "feed_forward": "gated-silu", "seed": 1},
    "sharded": {"tokenizer": "json", "tied": False, "shards": 3, "seed": 4},
    "ending": {
        "tokenizer": "json",
        "feed_forward": "gated-gelu",
        "tied": False,
        "ending": 2.0,
        "seed": 2,
    },
    "bytes": {"feed_forward": "gated-gelu", "tied": False, "seed": 2},
    "mt5": {
        "model_type": "mt5",
        "tokenizer": "spiece",
        "feed_forward": "gated-gelu",
        "tied": False,
        "seed": 2,
    },
    "umt5": {
        "model_type": "umt5",
        "tokenizer": "json",
        "feed_forward": "gated-gelu",
        "tied": False,
        "seed": 2,
    },
}

# Rounding may decide where the two likeliest tokens are closer than this.
CLEAR = 1e-3


@pytest.fixture
def model(reference):
    return reference(**MATRIX["gated"])


@pytest.mark.parametrize("kind", MATRIX)
def test_greedy_equals_transformers(backend_name, load, reference, kind):
    theirs = reference(**MATRIX[kind])
    backend = load(theirs.path, backend_name)
    clear = [prompt for prompt in PROMPTS if theirs.margin(prompt) > CLEAR]
    wanted = {prompt: theirs.generate(prompt) for prompt in clear}
    # The comparison says something: most choices are clear, and the answers vary.
    assert len(clear) >= 3
    assert len({token for tokens in wanted.values() for token in tokens}) >= 8
    for prompt, tokens in wanted.items():
        events = run(backend, ask(prompt))
        assert text(events) == theirs.whole(tokens)
        assert events[-1].usage["completion_tokens"] == len(tokens)
        assert events[-1].reason == ("length" if len(tokens) == 24 else "stop")


@pytest.mark.parametrize(("beams", "penalty"), [(2, 1.0), (3, 0.0), (4, 0.6), (5, 2.0), (4, -1.0)])
def test_beam_search_equals_transformers(backend_name, load, model, beams, penalty):
    backend = load(model.path, backend_name)
    if left_to_torch(backend_name, backend, model.path, ask("x", num_beams=beams)):
        return
    for prompt in PROMPTS[1:4]:
        wanted = model.generate(prompt, num_beams=beams, length_penalty=penalty, max_new_tokens=12)
        request = ask(prompt, num_beams=beams, length_penalty=penalty, max_tokens=12)
        assert text(run(backend, request)) == model.whole(wanted)


def test_requests_of_one_batch_do_not_disturb_each_other(backend_name, load, model):
    prompts = [prompt for prompt in PROMPTS if model.margin(prompt) > CLEAR]
    backend = load(model.path, backend_name, max_concurrent=3)
    alone = [text(run(backend, ask(prompt))) for prompt in prompts]
    # One joins after the other, and more wait than have a place.
    events = []
    for number, prompt in enumerate(prompts):
        backend.start(str(number), ask(prompt), lambda: False)
        events += [event for _ in range(4) for event in backend.step()]
    answers = collect(backend, events)
    assert [text(answers[str(number)]) for number in range(len(prompts))] == alone


def test_a_stop_string_ends_the_answer_before_itself(backend_name, load, model):
    backend = load(model.path, backend_name)
    whole = text(run(backend, ask(PROMPTS[3])))
    stop = whole[5:8]
    events = run(backend, ask(PROMPTS[3], stop=(stop,)))
    assert text(events) == whole[: whole.index(stop)]
    assert events[-1].reason == "stop"


@pytest.mark.parametrize("most", [1, 2, 7])
def test_max_tokens(backend_name, load, model, most):
    backend = load(model.path, backend_name)
    events = run(backend, ask(PROMPTS[3], max_tokens=most))
    assert events[-1].usage["completion_tokens"] == most
    assert events[-1].reason == "length"


def test_tokens_come_one_by_one_after_the_prompt_was_read(backend_name, load, model):
    events = run(load(model.path, backend_name), ask(PROMPTS[3]))
    prompt = len(model.tokenizer.encode(PROMPTS[3]))
    reading = [event for event in events if isinstance(event, Reading)]
    assert (reading[-1].done, reading[-1].total) == (prompt, prompt)
    tokens = [event.tokens for event in events if isinstance(event, Token)]
    assert tokens == list(range(1, events[-1].usage["completion_tokens"] + 1))
    assert events[-1].usage["prompt_tokens"] == prompt


def test_a_seed_repeats_and_a_drawn_one_is_reported(backend_name, load, model):
    backend = load(model.path, backend_name)
    if left_to_torch(backend_name, backend, model.path, ask("x", temperature=2.0)):
        return

    def write(seed):
        return run(backend, ask("x", temperature=2.0, top_k=0, top_p=1.0, seed=seed))

    first = write(None)
    assert text(write(first[-1].usage["seed"])) == text(first)
    assert len({text(write(seed)) for seed in range(5)}) > 3


def test_cancelling_ends_it_with_the_next_token(backend_name, load, model):
    backend = load(model.path, backend_name)
    done = []
    backend.start("r", ask(PROMPTS[3]), lambda: len(done) >= 3)
    events = []
    while backend.active:
        events += backend.step()
        done = [event for event in events if isinstance(event, Token)]
    assert len(done) <= 4
    assert (events[-1].reason, events[-1].usage["completion_tokens"]) == ("cancelled", len(done))
    assert text(run(backend, ask("x"))) == model.whole(model.generate("x"))


def test_cancelled_before_it_began(backend_name, load, model):
    events = run(load(model.path, backend_name), ask("x"), stopped=lambda: True)
    assert [event.reason for event in events] == ["cancelled"]


def test_instructions_and_the_last_message_are_read_and_no_persona(backend_name, load, model):
    messages = (Message("system", "translate"), Message("user", "a tree"))
    backend = load(model.path, backend_name)
    said = run(backend, ask(messages, persona="You are a pirate."))
    assert text(said) == text(run(backend, ask("translate\na tree")))
    assert "unread_messages" not in said[-1].usage
    before = (Message("user", "the queen"), Message("assistant", "die Königin"))
    said = run(backend, ask((*before, *messages)))
    assert text(said) == text(run(backend, ask("translate\na tree")))
    assert said[-1].usage["unread_messages"] == 2


def test_a_prompt_that_is_too_long_is_an_error_with_its_parts(backend_name, load, model):
    backend = load(model.path, backend_name, context_size=20)
    messages = (
        Message("system", "translate"),
        Message("user", "a tree"),
        Message("user", "the garden of the king and the queen, and all of its trees"),
    )
    with pytest.raises(ContextOverflow, match="Nothing was cut") as caught:
        backend.start("r", ask(messages), lambda: False)
    data = caught.value.data
    assert data["prompt_tokens"] == 20 + data["over_by"] == sum(data["ledger"].values())
    assert data["ledger"]["prompt"] > data["ledger"]["system"] > 0 == data["ledger"]["history"]
    assert backend.active == 0


def test_tokens_are_counted(backend_name, load, model):
    backend = load(model.path, backend_name)
    backend.start("t", TokenizeRequest("a-t5", prompt="a tree"), lambda: False)
    assert backend.step() == [Tokenized("t", tuple(model.tokenizer.encode("a tree")))]
    assert backend.active == 0


def test_what_it_lacks_is_refused_by_name(backend_name, load, model):
    backend = load(model.path, backend_name)
    with pytest.raises(RequestError, match="mirostat is not available"):
        backend.start("r", ask("x", mirostat=2), lambda: False)
    with pytest.raises(RequestError, match="grammar is not available"):
        backend.start("r", ask("x", grammar='root ::= "a"'), lambda: False)
    with pytest.raises(RequestError, match="makes no vectors"):
        backend.start("r", EmbeddingRequest("a-t5", ("x",)), lambda: False)


def test_facts(backend_name, load, model):
    facts = load(model.path, backend_name, context_size=0).describe()
    assert facts["device"] == "cpu"
    assert facts["architecture"] == "t5"
    assert facts["context_size"] == 512
    assert facts["engine_backend"] == backend_name.removesuffix("_t5")
    assert facts["quantization"]
    assert facts["threads"] == 1


def test_a_folder_that_lacks_something_is_refused_by_name(backend_name, load, model, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in model.path.iterdir():
        if not file.name.startswith(("tokenizer", "spiece")) and file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BadModelFile, match=r"neither tokenizer\.json nor spiece\.model"):
        load(folder, backend_name)


def test_usage(backend_name, load, model):
    finished = run(load(model.path, backend_name), ask(PROMPTS[3]))[-1]
    assert isinstance(finished, Finished)
    assert finished.usage["cached_tokens"] == 0
    assert finished.usage["time_to_first_token_ms"] > 0
    assert finished.usage["tokens_per_second"] > 0
