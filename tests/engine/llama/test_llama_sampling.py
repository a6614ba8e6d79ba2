import pytest

from llmspell_jupyter.engine.backends.llama_cpp import BACKEND
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import Sampling, TokenizeRequest
from tests.support.llama import ask, run, text, write


def test_a_seed_repeats_and_a_drawn_one_is_reported(smollm2):
    def write(seed):
        sampling = Sampling(temperature=1.0, seed=seed)
        return run(smollm2, ask("Once upon a time", max_tokens=16, sampling=sampling))

    first = write(None)
    drawn = first[-1].usage["seed"]
    again = write(drawn)
    assert text(again) == text(first)
    assert again[-1].usage["seed"] == drawn
    assert len({text(write(seed)) for seed in (1, 2, 3)}) == 3
    assert write(None)[-1].usage["seed"] != drawn


def test_penalty_over_the_whole_context(smollm2):
    once = Sampling(temperature=0, repeat_penalty=1.0)
    looped = text(run(smollm2, ask("one one one one one one", sampling=once)))
    whole = Sampling(temperature=0, repeat_penalty=2.0, repeat_last_n=-1)
    varied = text(run(smollm2, ask("one one one one one one", sampling=whole)))
    assert len(set(varied.split())) > len(set(looped.split()))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.01}, "top_p"),
        ({"top_p": -1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2.5}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"repeat_penalty": 0}, "repeat_penalty"),
        ({"repeat_last_n": -2}, "repeat_last_n"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32 - 1}, "seed"),
        ({"seed": True}, "seed"),
    ],
)
def test_sampling_out_of_range(load, tiny_file, change, field):
    backend = load(tiny_file)
    with pytest.raises(RequestError, match=f"^{field} is .*; it must be ") as caught:
        backend.start("r", ask("a", sampling=Sampling(**change)), lambda: False)
    assert caught.value.data["field"] == field
    assert repr(next(iter(change.values()))) in caught.value.message
    assert backend.active == 0


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=10, top_p=0, top_k=0, min_p=1, repeat_penalty=0.1, seed=0),
        Sampling(temperature=0.001, top_p=1, top_k=10**6, repeat_penalty=10, repeat_last_n=0),
        Sampling(seed=2**32 - 2, repeat_last_n=10**6),
    ],
)
def test_the_ends_of_the_ranges_work(load, tiny_file, sampling):
    assert run(load(tiny_file), ask("a", sampling=sampling))[-1].usage["completion_tokens"] > 0


# Each control, by what it does to a text


FREE = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repeat_penalty": 1.0}
LOOP = {"temperature": 0, "repeat_penalty": 1.0}


def test_every_control_is_known_but_those_of_beams():
    every = set(Sampling.__dataclass_fields__)
    assert every - BACKEND.controls == {"num_beams", "length_penalty"}


def test_beams_are_refused(tiny):
    with pytest.raises(RequestError, match="num_beams is not available"):
        tiny.start("r", ask("a", sampling=Sampling(num_beams=2)), lambda: False)


@pytest.mark.parametrize(
    "control",
    [
        {"top_k": 1},
        {"top_p": 0.0},
        {"min_p": 1.0},
        {"top_n_sigma": 0.001},
        {"temperature": 0.001},
    ],
    ids=str,
)
def test_filters_at_their_narrowest_leave_the_likeliest(tiny, control):
    greedy = write(tiny, "the sea", **LOOP)
    assert write(tiny, "the sea", **FREE, seed=1) != greedy
    assert write(tiny, "the sea", **(FREE | {"seed": 1} | control)) == greedy


@pytest.mark.parametrize(
    "control",
    [
        {"typical_p": 0.2},
        {"xtc_probability": 1.0, "xtc_threshold": 0.01},
        {"dynatemp_range": 0.9},
        {"dynatemp_range": 0.9, "dynatemp_exponent": 3.0},
        {"mirostat": 1},
        {"mirostat": 2},
        {"mirostat": 2, "mirostat_tau": 1.0},
        {"mirostat": 2, "mirostat_eta": 0.9},
        {"presence_penalty": 5.0},
        {"frequency_penalty": 5.0},
    ],
    ids=str,
)
def test_controls_change_what_a_seed_draws(tiny, control):
    drawn = FREE | {"seed": 5}
    bare = dict.fromkeys(list(control)[:-1], None)
    before = drawn | {name: control[name] for name in bare}
    text = write(tiny, "the sea", **(drawn | control))
    assert text != write(tiny, "the sea", **before)
    assert text == write(tiny, "the sea", **(drawn | control))


def test_xtc_leaves_out_the_likeliest(smollm2):
    """Of those above the threshold only the last stays."""
    narrow = {"temperature": 0.01, "repeat_penalty": 1.0, "max_tokens": 1, "seed": 1}
    left_out = {"xtc_probability": 1.0, "xtc_threshold": 0.01}
    assert write(smollm2, "The capital of France is", **narrow) == " Paris"
    assert write(smollm2, "The capital of France is", **narrow, **left_out) != " Paris"


def test_mirostat_holds_the_surprise(smollm2):
    """Aimed at no surprise it writes what greedy does; the filters do not matter to it."""
    aimed = {"mirostat": 2, "mirostat_tau": 0.0, "temperature": 1.0, "seed": 3, "max_tokens": 12}
    settled = write(smollm2, "The capital of France is", repeat_penalty=1.0, **aimed)
    # It begins at twice its aim and learns from there.
    assert settled == write(smollm2, "The capital of France is", **LOOP, max_tokens=12)
    aimed["mirostat_tau"] = 8.0
    wild = write(smollm2, "The capital of France is", repeat_penalty=1.0, top_k=1, **aimed)
    assert wild != settled


def test_dry_ends_a_loop(smollm2):
    prompt = "one two three one two three one two three"
    looped = write(smollm2, prompt, **LOOP)
    assert looped.count("one two three") == 3
    assert write(smollm2, prompt, **LOOP, dry_multiplier=5.0).count("one two three") < 3
    # What breaks a sequence, or may be repeated, leaves the loop alone.
    spared = {"dry_multiplier": 5.0, "dry_allowed_length": 1000}
    assert write(smollm2, prompt, **LOOP, **spared) == looped
    spared = {"dry_multiplier": 5.0, "dry_sequence_breakers": (" one", " two", " three")}
    assert write(smollm2, prompt, **LOOP, **spared) == looped
    spared = {"dry_multiplier": 5.0, "dry_penalty_last_n": 0}
    assert write(smollm2, prompt, **LOOP, **spared) == looped


@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty"])
def test_penalties_act_on_greedy_answers(smollm2, penalty):
    def variety(**controls):
        """Share of different words, whatever the words are on this processor."""
        words = write(smollm2, "one one one one one one", **LOOP, **controls).split()
        return len(set(words)) / len(words)

    assert variety(**{penalty: 3.0}) > variety()


def test_logit_bias_forbids_and_forces(smollm2):
    def first(prompt, bias=()):
        return write(smollm2, prompt, **LOOP, max_tokens=1, logit_bias=bias)

    [paris] = ids(smollm2, " Paris")
    [london] = ids(smollm2, " London")
    assert first("The capital of France is") == " Paris"
    assert first("The capital of France is", ((paris, -float("inf")),)) != " Paris"
    assert first("The capital of France is", ((london, 100.0),)) == " London"
    drawn = {"temperature": 1.0, "seed": 1, "max_tokens": 1, "logit_bias": ((london, 100.0),)}
    assert write(smollm2, "The capital of France is", **drawn) == " London"


def test_logit_bias_of_tokens_that_are_not_there(tiny):
    with pytest.raises(RequestError, match="logit_bias names token 99999"):
        tiny.start("r", ask("a", sampling=Sampling(logit_bias=((99999, 1.0),))), lambda: False)
    every = tuple((token, -float("inf")) for token in range(286))
    with pytest.raises(RequestError, match="forbids every token"):
        tiny.start("r", ask("a", sampling=Sampling(logit_bias=every)), lambda: False)


def ids(backend, text):
    backend.start("t", TokenizeRequest("a-model", prompt=text), lambda: False)
    [event] = backend.step()
    return event.ids
