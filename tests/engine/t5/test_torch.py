import subprocess
import sys

import pytest
import torch

from llmspell_jupyter.engine import dispatch
from llmspell_jupyter.engine.backend import Reading, Token
from llmspell_jupyter.engine.backends._torch.beams import Beams
from llmspell_jupyter.engine.backends._torch.sampling import Sampler
from llmspell_jupyter.engine.backends.torch_t5 import settle
from llmspell_jupyter.engine.device import Device
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import LoadOptions, Sampling
from tests.engine.t5.conftest import PROMPTS, ask, collect, info, pieces, run, text
from tests.engine.t5.test_conformance import CLEAR, MATRIX


@pytest.fixture
def model(reference):
    return reference(**MATRIX["gated"])


def named(model, tokens):
    return [model.tokenizer.piece(token) for token in tokens]


# Numbers


# Tied embeddings make small logits, and with eight bits behind the point most is rounding.
@pytest.mark.parametrize(
    ("kind", "dtype", "lead"),
    [
        ("gated", torch.bfloat16, 0.25),
        ("gated", torch.float16, 0.03),
        ("first", torch.float16, 0.004),
    ],
)
def test_short_numbers_give_the_tokens_that_transformers_gives(load, reference, kind, dtype, lead):
    theirs = reference(**MATRIX[kind], dtype=dtype)
    backend = load(theirs.path, dtype=str(dtype).removeprefix("torch."))
    assert backend.describe()["quantization"] == {"b": "BF16", "f": "F16"}[str(dtype)[6]]
    clear = [
        (prompt, most)
        for prompt in PROMPTS
        for most in (2, 4, 8)
        if theirs.margin(prompt, max_new_tokens=most) > lead
    ]
    assert len(clear) >= 5
    for prompt, most in clear:
        wanted = theirs.generate(prompt, max_new_tokens=most)
        events = run(backend, ask(prompt, max_tokens=most, logprobs=0))
        assert pieces(events) == named(theirs, wanted)


def test_weights_in_short_numbers_are_read_as_long_ones(load, reference, model):
    short = reference(**MATRIX["gated"], dtype=torch.bfloat16)
    backend = load(short.path, dtype="auto")
    assert backend.describe()["quantization"] == "F32"
    whole = short.model.float()
    ids = torch.tensor([short.tokenizer.encode("the fox")])
    with torch.inference_mode():
        wanted = whole(input_ids=ids, decoder_input_ids=torch.tensor([[0]])).logits[0, -1]
    short.model.bfloat16()
    first = run(backend, ask("the fox", max_tokens=1, logprobs=3))
    token = next(event for event in first if isinstance(event, Token))
    values = wanted.log_softmax(-1).topk(3).values.tolist()
    assert [each.logprob for each in token.logprob.top] == pytest.approx(values, abs=1e-3)


def test_int8_stays_near_the_whole_numbers(load, model):
    short, whole = load(model.path, dtype="int8"), load(model.path)
    assert short.describe()["quantization"] == "INT8"

    def likely(backend, prompt):
        events = run(backend, ask(prompt, max_tokens=1, logprobs=20))
        top = next(event for event in events if isinstance(event, Token)).logprob.top
        return {each.token: each.logprob for each in top[:5]}

    for prompt in PROMPTS:
        near, right = likely(short, prompt), likely(whole, prompt)
        shared = near.keys() & right.keys()
        assert len(shared) >= 3
        assert all(abs(near[token] - right[token]) < 0.5 for token in shared)


def test_which_numbers_where():
    assert settle("auto", Device("cpu", "")) == "float32"
    assert settle("auto", Device("metal", "")) == "float32"
    assert settle("bfloat16", Device("metal", "")) == "bfloat16"
    assert settle("int8", Device("cpu", "")) == "int8"
    with pytest.raises(RequestError, match="int8 is for the CPU"):
        settle("int8", Device("cuda", ""))


# Longer than one piece of work


@pytest.mark.parametrize("kind", ["gated", "umt5"])
def test_a_prompt_of_several_parts(load, reference, kind):
    """Longer than the queries that are computed at a time, and than any bucket of distances."""
    theirs = reference(**MATRIX[kind])
    prompts = ("the queen and 42 birds are in the garden; " * times for times in range(53, 60))
    prompt = next(each for each in prompts if theirs.margin(each, max_new_tokens=8) > CLEAR)
    assert len(theirs.tokenizer.encode(prompt)) > 512
    events = run(load(theirs.path), ask(prompt, max_tokens=8, logprobs=0))
    assert pieces(events) == named(theirs, theirs.generate(prompt, max_new_tokens=8))


def test_answers_of_different_ages_and_lengths(load, model):
    """Long enough for the cache to grow twice, while others join and leave."""
    backend = load(model.path, max_concurrent=3)
    steady = next(
        prompt for prompt in PROMPTS if model.margin(prompt, max_new_tokens=150) > CLEAR / 10
    )
    long = ask(steady, max_tokens=150, logprobs=0)
    wanted = named(model, model.generate(steady, max_new_tokens=150))
    events = []
    backend.start("long", long, lambda: False)
    beside = [prompt for prompt in PROMPTS if model.margin(prompt) > CLEAR]
    for number, prompt in enumerate(beside * 3):
        backend.start(str(number), ask(prompt, max_tokens=4 + number, logprobs=0), lambda: False)
        events += [event for _ in range(7) for event in backend.step()]
    answers = collect(backend, events)
    assert pieces(answers["long"]) == wanted
    for number, prompt in enumerate(beside * 3):
        tokens = model.generate(prompt, max_new_tokens=4 + number)
        assert pieces(answers[str(number)]) == named(model, tokens)


@pytest.mark.parametrize("seed", [2, 3])
def test_a_search_whose_texts_end(load, reference, seed):
    """Where the answers have various lengths, and the length penalty decides between them."""
    theirs = reference(**MATRIX["ending"] | {"seed": seed})
    backend = load(theirs.path)
    lengths = set()
    for beams, penalty in [(2, 1.0), (3, 0.0), (3, -1.0), (4, 0.6), (5, 2.0), (5, 5.0)]:
        for prompt in PROMPTS[1:4]:
            wanted = theirs.generate(
                prompt, num_beams=beams, length_penalty=penalty, max_new_tokens=12
            )
            request = ask(prompt, num_beams=beams, length_penalty=penalty, max_tokens=12)
            events = run(backend, request)
            assert text(events) == theirs.whole(wanted)
            assert events[-1].usage["completion_tokens"] == len(wanted)
            assert events[-1].reason == ("length" if len(wanted) == 12 else "stop")
            lengths.add((prompt, len(wanted)))
    assert len(lengths) > 3


def test_a_search_ends_when_no_open_text_can_win():
    """Two texts have ended, and the best open one is behind both at its length."""
    sampler = Sampler(Sampling(temperature=0, repeat_penalty=1.0), seed=0)
    beams = Beams(2, 0, (1,), 1.0, most=100, sampler=sampler)
    # Token 2 leads, then the end leads after both texts.
    assert beams.advance(torch.tensor([[-9.0, -9.0, 5.0, 4.0]])) == [0, 0]
    assert not beams.done
    beams.advance(torch.tensor([[0.0, 9.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0]]))
    assert beams.done
    assert beams.best == (2, 1)


def test_a_search_beside_others(load, model):
    backend = load(model.path, max_concurrent=3)
    for number, prompt in enumerate(PROMPTS[1:4]):
        backend.start(str(number), ask(prompt, num_beams=1 + 2 * (number == 1)), lambda: False)
    answers = collect(backend)
    for number, prompt in enumerate(PROMPTS[1:4]):
        wanted = model.generate(prompt, num_beams=1 + 2 * (number == 1))
        assert text(answers[str(number)]) == model.whole(wanted)


def test_a_long_prompt_is_left_between_its_layers(load, model):
    backend = load(model.path)
    seen = []
    backend.start("r", ask("the queen and the king " * 200), lambda: len(seen) >= 2)
    events = []
    while backend.active:
        events += backend.step()
        seen = [event for event in events if isinstance(event, Reading)]
    assert len(seen) == 2
    assert seen[-1].done < seen[-1].total
    assert events[-1].reason == "cancelled"


def test_answers_flow_while_a_prompt_is_read(load, model):
    backend = load(model.path, max_concurrent=2)
    backend.start("r", ask("x", max_tokens=60), lambda: False)
    for _ in range(6):
        backend.step()
    backend.start("s", ask("the queen and the king " * 200), lambda: False)
    read = 0
    while read < 800:
        step = backend.step()
        read = next(event.done for event in step if event.request_id == "s")
        assert any(isinstance(event, Token) for event in step if event.request_id == "r")


# Controls


@pytest.mark.parametrize("penalty", [0.5, 1.3, 3.0])
def test_repeat_penalty_equals_that_of_transformers(load, model, penalty):
    backend = load(model.path)
    differs = 0
    for prompt in PROMPTS:
        wanted = model.generate(prompt, repetition_penalty=penalty)
        differs += wanted != model.generate(prompt)
        request = ask(prompt, repeat_penalty=penalty, repeat_last_n=-1, logprobs=0)
        assert pieces(run(backend, request)) == named(model, wanted)
    assert differs


def test_repeat_penalty_in_a_search(load, model):
    wanted = model.generate(PROMPTS[3], repetition_penalty=2.0, num_beams=3)
    request = ask(PROMPTS[3], repeat_penalty=2.0, repeat_last_n=-1, num_beams=3)
    assert text(run(load(model.path), request)) == model.whole(wanted)


def choices(count=400, written=(0,), logits=(3.0, 2.0, 1.0, 0.0, -1.0), **sampling):
    """What is drawn how often."""
    sampling = {"temperature": 1.0, "repeat_penalty": 1.0, "top_k": 0, "top_p": 1.0} | sampling
    sampler = Sampler(Sampling(**sampling), seed=1)
    drawn = [sampler.draw(torch.tensor(logits), written, None).token for _ in range(count)]
    return {token: drawn.count(token) / count for token in sorted(set(drawn))}


def test_draws_follow_the_probabilities():
    shares = torch.tensor([3.0, 2.0, 1.0, 0.0, -1.0]).softmax(-1)
    assert choices() == pytest.approx(dict(enumerate(shares.tolist())), abs=0.06)
    hot = (torch.tensor([3.0, 2.0, 1.0, 0.0, -1.0]) / 3).softmax(-1)
    assert choices(temperature=3.0) == pytest.approx(dict(enumerate(hot.tolist())), abs=0.06)


@pytest.mark.parametrize(
    ("sampling", "tokens"),
    [
        ({"temperature": 0.0}, {0}),
        ({"top_k": 1}, {0}),
        ({"top_k": 3}, {0, 1, 2}),
        ({"top_p": 0.5}, {0}),
        ({"top_p": 0.8}, {0, 1}),
        ({"top_p": 0.0}, {0}),
        ({"min_p": 0.1}, {0, 1, 2}),
        ({"min_p": 1.0}, {0}),
        ({"logit_bias": ((0, float("-inf")), (4, 50.0))}, {4}),
        ({"presence_penalty": 5.0, "top_k": 1, "written": (0, 1)}, {2}),
        ({"frequency_penalty": 1.0, "top_k": 1, "written": (0, 0, 0, 1)}, {1, 2}),
        ({"repeat_penalty": 10.0, "top_k": 1, "written": (0,)}, {1}),
        ({"repeat_penalty": 10.0, "top_k": 1, "repeat_last_n": 1, "written": (0, 1)}, {0}),
        ({"repeat_penalty": 10.0, "top_k": 1, "repeat_last_n": 0, "written": (0,)}, {0}),
    ],
)
def test_each_control_leaves_the_tokens_that_it_should(sampling, tokens):
    assert set(choices(**sampling)) <= tokens
    assert max(choices(**sampling)) == max(tokens) or len(tokens) == 2


@pytest.mark.parametrize("kind", ["gated", "first", "mt5", "umt5"])
def test_logprobs_are_those_of_the_model(load, reference, kind):
    model = reference(**MATRIX[kind])
    ids = torch.tensor([model.tokenizer.encode(PROMPTS[3])])
    answer = model.generate(PROMPTS[3])
    with torch.inference_mode():
        logits = model.model(input_ids=ids, decoder_input_ids=torch.tensor([[0, *answer]])).logits
    wanted = logits[0].log_softmax(-1)
    # A bias and a temperature act on the choice, not on what is reported.
    request = ask(PROMPTS[3], logprobs=2, logit_bias=((3, -1.0),))
    tokens = [event.logprob for event in run(load(model.path), request) if isinstance(event, Token)]
    for place, (token, each) in enumerate(zip(answer, tokens, strict=True)):
        assert each.logprob == pytest.approx(float(wanted[place, token]), abs=1e-3)
        assert [other.logprob for other in each.top] == pytest.approx(
            wanted[place].topk(2).values.tolist(), abs=1e-3
        )
        assert each.top[0].bytes == tuple(model.tokenizer.piece(int(wanted[place].argmax())))


def test_draws_do_not_depend_on_what_is_beside_them(load, model):
    def drawn(seed):
        return ask("x", temperature=1.5, top_k=0, seed=seed)

    backend = load(model.path, max_concurrent=4)
    alone = [text(run(backend, drawn(seed))) for seed in range(4)]
    for seed in range(4):
        backend.start(str(seed), drawn(seed), lambda: False)
        backend.step()
    answers = collect(backend)
    assert [text(answers[str(seed)]) for seed in range(4)] == alone


@pytest.mark.parametrize("rest", [{"temperature": 0.5}, {"logprobs": 1}])
def test_a_search_neither_draws_nor_reports(load, model, rest):
    with pytest.raises(RequestError, match="does not go with num_beams"):
        load(model.path).start("r", ask("x", num_beams=2, **rest), lambda: False)


def test_a_search_ends_at_a_stop_string(load, model):
    backend = load(model.path)
    whole = text(run(backend, ask(PROMPTS[3], num_beams=3)))
    events = run(backend, ask(PROMPTS[3], num_beams=3, stop=(whole[4:6],)))
    assert text(events) == whole[: whole.index(whole[4:6])]
    assert events[-1].reason == "stop"


# Loading


def test_progress_grows_to_the_whole(reference):
    path = reference(**MATRIX["sharded"]).path
    told = []
    dispatch.backend("torch_t5").load(info(path), LoadOptions(), told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 20


def test_the_module_imports_no_torch():
    script = "import sys; from llmspell_jupyter.engine import dispatch; "
    script += "dispatch.backend('torch_t5'); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_one_core_stays_free_while_it_answers(load, model):
    facts = {count: load(model.path, cpu_threads=count).describe() for count in (1, 2, 4)}
    found = {count: (each["threads"], each["threads_batch"]) for count, each in facts.items()}
    assert found == {1: (1, 1), 2: (1, 2), 4: (3, 4)}


ABSENT = """
import sys
sys.modules[sys.argv[2]] = None
from pathlib import Path
from llmspell_jupyter.engine.backends.torch_t5 import BACKEND
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.types import LoadOptions, ModelInfo
try:
    info = ModelInfo("a-t5", "candle", Path(sys.argv[1]), "safetensors", 0, 0)
    BACKEND.load(info, LoadOptions(), print)
except LLMSpellError as error:
    print(type(error).__name__, error.hint, sep="\\n")
"""


@pytest.mark.parametrize("library", ["torch", "safetensors", "sentencepiece"])
def test_a_missing_library_names_the_command_that_installs_it(model, library):
    done = subprocess.run(
        [sys.executable, "-c", ABSENT, model.path, library],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("BackendMissing\n")
    assert f'{sys.executable} -m pip install "llmspell-jupyter[torch]"' in done.stdout
