"""What the suite of all T5 backends does not ask of the fast lane."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers

from llmspell_jupyter.engine import frames, messages
from llmspell_jupyter.engine.backend import Event, Finished, Token
from llmspell_jupyter.engine.backends.ctranslate2_t5 import CTranslate2T5
from llmspell_jupyter.errors import BadModelFile, ContextOverflow, RequestError
from llmspell_jupyter.types import (
    GenerationRequest,
    LoadOptions,
    Message,
    ModelInfo,
    Sampling,
)
from tests.support.random_t5 import write_random_t5

# Numbers of tokens; a text shows the number of each, see words().
PROMPTS = ([20, 31, 42, 53, 64, 75], [7], [3 + number * 37 % 380 for number in range(150)])
TOKENS = 24
END = 1

# Models that the suite of all backends has not: what write_random_t5 is asked for.
MODELS: dict[str, dict[str, Any]] = {
    "untied": {"tied": False, "feed_forward": "gated-gelu"},
    "gelu": {"feed_forward": "gelu", "seed": 2},
    "bfloat16": {"dtype": torch.bfloat16, "shards": 2, "seed": 6},
    "float16": {"dtype": torch.float16, "seed": 7},
    "wide heads": {"shape": {"d_kv": 40}, "seed": 8},
    "another epsilon": {"shape": {"layer_norm_epsilon": 0.3}, "seed": 9},
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_model(folder: Path, **asked: Any) -> Path:
    """A random model with a tokenizer that shows every token: word w17 is token 17."""
    write_random_t5(folder, **asked)
    known = json.loads((folder / "config.json").read_text())["vocab_size"]
    vocabulary = {f"w{number}": number for number in range(known) if number != END}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary | {"</s>": END}, "w2"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["</s>"])
    made.save(str(folder / "tokenizer.json"))
    return folder


def words(tokens: list[int]) -> str:
    return " ".join(f"w{token}" for token in tokens)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "varied", **MODELS["untied"])


def info(folder: Path) -> ModelInfo:
    return ModelInfo("random", "candle", folder, "safetensors", 0, 0, architecture="t5")


@contextmanager
def loaded(folder: Path, **options: Any) -> Iterator[CTranslate2T5]:
    options = {"device": "cpu", "dtype": "float32"} | options
    model = CTranslate2T5.load(info(folder), LoadOptions(**options), lambda done: None)
    try:
        yield model
    finally:
        model.close()


def ask(
    prompt: list[int] = PROMPTS[0], *, max_tokens: int = TOKENS, **fields: Any
) -> GenerationRequest:
    return GenerationRequest(model="random", prompt=words(prompt), max_tokens=max_tokens, **fields)


def run(
    model: CTranslate2T5,
    *requests: GenerationRequest,
    stopped: Callable[[str], bool] = lambda _: False,
) -> dict[str, list[Event]]:
    """Events of requests that are admitted together, by their place."""
    for number, request in enumerate(requests):
        model.start(str(number), request, lambda number=number: stopped(str(number)))
    events: dict[str, list[Event]] = {str(number): [] for number in range(len(requests))}
    while model.active:
        for event in model.step():
            events[event.request_id].append(event)
    return events


def text_of(events: list[Event]) -> str:
    return "".join(each.text for each in events if isinstance(each, Token | Finished))


def finished(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished), events[-1]
    return events[-1]


def by_transformers(folder: Path) -> list[str]:
    kind = transformers.T5ForConditionalGeneration
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    answers = []
    for prompt in PROMPTS:
        ids = torch.tensor([[*prompt, END]])
        answer = model.generate(ids, do_sample=False, num_beams=1, max_new_tokens=TOKENS)
        answers.append(words([token for token in answer[0, 1:].tolist() if token != END]))
    return answers


@pytest.mark.parametrize("name", MODELS)
def test_tokens_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", **MODELS[name])
    with loaded(folder) as model:
        events = run(model, *map(ask, PROMPTS))
    assert [text_of(each) for each in events.values()] == by_transformers(folder)


def test_int8_says_nearly_the_same(tmp_path: Path) -> None:
    # Random weights leave near ties, which rounding decides; wrong arithmetic would leave chance.
    same = total = 0
    for name in ("gelu", "bfloat16", "float16", "another epsilon"):
        folder = write_model(tmp_path / name, **MODELS[name])
        with loaded(folder, dtype="auto") as model:
            assert model.describe()["quantization"] == "INT8"
            events = run(model, *map(ask, PROMPTS))
        for mine, reference in zip(events.values(), by_transformers(folder), strict=True):
            pairs = list(zip(text_of(mine).split(), reference.split(), strict=False))
            same += sum(a == b for a, b in pairs)
            total += len(pairs)
    assert total > 200
    assert same / total > 0.75, (same, total)


def test_every_end_token_ends_an_answer(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", **MODELS["untied"])
    with loaded(folder) as model:
        free = text_of(run(model, ask())["0"]).split()
    third = next(each for each in free if free.index(each) >= 2)
    config = json.loads((folder / "config.json").read_text())
    config["eos_token_id"] = [END, int(third.removeprefix("w"))]
    (folder / "config.json").write_text(json.dumps(config))
    with loaded(folder) as model:
        events = run(model, ask())["0"]
    assert text_of(events).split() == free[: free.index(third)], "it is no part of the answer"
    assert finished(events).reason == "stop"
    assert finished(events).usage["completion_tokens"] == free.index(third)


def test_cancelling_one_leaves_the_others(folder: Path) -> None:
    seen = False

    def stopped(request_id: str) -> bool:
        return seen and request_id == "0"

    with loaded(folder, max_concurrent=2) as model:
        alone = text_of(run(model, ask(PROMPTS[1]))["0"])
        endless = ask(PROMPTS[2], max_tokens=4000)
        model.start("0", endless, lambda: stopped("0"))
        model.start("1", ask(PROMPTS[1]), lambda: stopped("1"))
        events: list[Event] = []
        while model.active:
            events += model.step()
            seen = any(isinstance(each, Token) and each.request_id == "0" for each in events)
    ends = {each.request_id: each for each in events if isinstance(each, Finished)}
    assert ends["0"].reason == "cancelled"
    assert ends["0"].usage["completion_tokens"] < 4000
    assert (
        "".join(
            each.text
            for each in events
            if isinstance(each, Token | Finished) and each.request_id == "1"
        )
        == alone
    )


def test_one_that_waits_for_its_turn_is_cancelled_at_once(folder: Path) -> None:
    with loaded(folder) as model:
        model.start("long", ask(max_tokens=4000), lambda: ended)
        ended = False
        model.start("waits", ask(), lambda: True)
        events = model.step()
        assert [type(each) for each in events] == [Finished]
        assert events[0].request_id == "waits"
        ended = True
        while model.active:
            events += model.step()
    assert finished(events).request_id == "long"


def test_a_cancelled_answer_gives_its_place_away(folder: Path) -> None:
    # It would take minutes to its end.
    with loaded(folder, context_size=1_000_000) as model:
        model.start("long", ask(max_tokens=1_000_000), lambda: cancelled)
        cancelled = False
        while not any(isinstance(each, Token) for each in model.step()):
            pass
        cancelled = True
        begun = time.monotonic()
        assert finished(model.step()).reason == "cancelled"
        assert finished(run(model, ask(max_tokens=3))["0"]).reason == "length"
        assert time.monotonic() - begun < 10


def test_a_prompt_that_is_too_long_is_refused_whole(folder: Path) -> None:
    talk = (Message("system", words(list(range(3, 60)))), Message("user", words([3, 4])))
    request = GenerationRequest(model="random", messages=talk)
    with loaded(folder, context_size=50) as model:
        with pytest.raises(ContextOverflow) as caught:
            model.start("0", request, lambda: False)
        assert not model.active
    assert caught.value.data["prompt_tokens"] == 60
    assert caught.value.data["ledger"]["system"] == 57
    assert caught.value.data["ledger"]["prompt"] == 2


def test_a_long_prompt_is_read_to_its_end(folder: Path) -> None:
    # Two prompts of 1,500 tokens that differ in the last one only.
    first = [3 + number % 300 for number in range(1500)]
    with loaded(folder) as model:
        events = run(model, ask(first), ask([*first[:-1], 350]))
    assert finished(events["0"]).usage["prompt_tokens"] == 1501
    assert text_of(events["0"]) != text_of(events["1"])


def test_what_it_lacks_is_refused(folder: Path) -> None:
    with loaded(folder) as model:
        for fields in (
            {"logprobs": 2},
            {"grammar": 'root ::= "a"'},
            {"sampling": Sampling(temperature=0.5)},
            {"sampling": Sampling(repeat_penalty=1.2)},
            {"sampling": Sampling(num_beams=2)},
        ):
            with pytest.raises(RequestError):
                model.start("0", ask(**fields), lambda: False)
        same = Sampling(temperature=0, repeat_penalty=1, top_p=0.5, top_k=3, seed=7)
        events = run(model, ask(sampling=same), ask())
    assert text_of(events["0"]) == text_of(events["1"])
    assert finished(events["0"]).usage["seed"] == 7


def test_weights_that_are_not_those_of_the_configuration(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"d_ff": 100}))
    with pytest.raises(BadModelFile, match="wi"), loaded(folder):
        pass
    assert not (folder / ".llmspell").exists()


# Runs in a process without torch and transformers.
BARE = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from pathlib import Path
from llmspell_jupyter.engine.backend import Finished
from llmspell_jupyter.engine.backends.ctranslate2_t5 import CTranslate2T5
from llmspell_jupyter.types import GenerationRequest, LoadOptions, ModelInfo
info = ModelInfo("m", "candle", Path(sys.argv[1]), "safetensors", 0, 0, architecture="t5")
model = CTranslate2T5.load(info, LoadOptions(), lambda done: None)
model.start("0", GenerationRequest(model="m", prompt="w5", max_tokens=4), lambda: False)
events = []
while model.active:
    events += model.step()
assert isinstance(events[-1], Finished), events
model.start("1", GenerationRequest(model="m", prompt="w5", max_tokens=4000), lambda: False)
while not model.step():
    pass
model.close()
"""


def test_needs_no_torch_and_ends_quietly_in_the_middle_of_an_answer(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    ended = subprocess.run(
        [sys.executable, "-c", BARE, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_worker_that_cancelled_ends_quietly(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", **MODELS["untied"])
    request = messages.request_to_wire(ask(max_tokens=4000))
    with subprocess.Popen(
        [sys.executable, "-m", "llmspell_jupyter.engine.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as worker:
        assert worker.stdin and worker.stdout and worker.stderr

        def tell(**command: Any) -> None:
            worker.stdin.write(frames.encode(command))
            worker.stdin.flush()

        def hear(key: str, value: Any = None) -> dict[str, Any]:
            while (message := frames.read(worker.stdout)) is not None:
                if key in message and value in (None, message[key]):
                    return message
            raise AssertionError(worker.stderr.read().decode())

        model = messages.model_to_wire(info(folder))
        options = {"device": "cpu"}
        tell(do="load", backend="ctranslate2_t5", model=model, options=options)
        assert hear("loaded")["loaded"]["quantization"] == "INT8"
        for number in range(3):
            tell(do="start", request_id=str(number), request=request)
            hear("event", "Token")
            tell(do="cancel", request_id=str(number))
            assert hear("event", "Finished")["reason"] == "cancelled"
        tell(do="start", request_id="last", request=request)
        hear("event", "Token")
        worker.stdin.close()
        assert worker.wait(timeout=30) == 0
        assert worker.stderr.read() == b""
