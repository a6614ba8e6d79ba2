from pathlib import Path

import pytest

from llmspell_jupyter.engine.backend import Finished, Token
from llmspell_jupyter.engine.backends.echo import BACKEND
from llmspell_jupyter.errors import BadModelFile, ContextOverflow, RequestError
from llmspell_jupyter.types import GenerationRequest, LoadOptions, Message, ModelInfo


def info(format="echo"):
    return ModelInfo("echo", "candle", Path("echo"), format, size_bytes=0, modified_at=0)


def load(model, options):
    return BACKEND.load(model, options, lambda share: None)


@pytest.fixture
def echo():
    return load(info(), LoadOptions())


def run(backend, request, stopped=lambda: False):
    backend.start("r", request, stopped)
    events = []
    while backend.active:
        events += backend.step()
    assert isinstance(events[-1], Finished)
    return events


def text(events):
    return "".join(event.text for event in events)


def test_repeats_the_last_user_message(echo):
    messages = (
        Message("system", "Be brief."),
        Message("user", "first"),
        Message("assistant", "first"),
        Message("user", "  hello\n big  world "),
    )
    events = run(echo, GenerationRequest("echo", messages=messages))
    assert text(events) == "  hello\n big  world "
    assert [event.tokens for event in events if isinstance(event, Token)] == [1, 2, 3]
    assert events[-1].reason == "stop"
    assert events[-1].usage["prompt_tokens"] == events[-1].usage["completion_tokens"] == 3


def test_repeats_the_prompt_up_to_max_tokens(echo):
    events = run(echo, GenerationRequest("echo", prompt="a b c d", max_tokens=2))
    assert (text(events), events[-1].reason) == ("a b ", "length")


def test_ends_before_a_stop_string(echo):
    events = run(echo, GenerationRequest("echo", prompt="a b c d", stop=("b c",)))
    assert (text(events), events[-1].reason) == ("a ", "stop")


def test_cancelled_between_words(echo):
    seen = []
    echo.start("r", GenerationRequest("echo", prompt="a b c"), lambda: len(seen) == 2)
    while echo.active:
        seen += echo.step()
    assert (text(seen), seen[-1].reason) == ("a b ", "cancelled")


def test_requests_take_turns(echo):
    for name in ("x", "y"):
        echo.start(name, GenerationRequest("echo", prompt=f"{name}1 {name}2"), lambda: False)
    assert [event.text for event in echo.step()] == ["x1 ", "y1 "]
    assert echo.active == 2
    assert [event.text for event in echo.step()] == ["x2", "y2"]
    assert [event.reason for event in echo.step()] == ["stop", "stop"]
    assert echo.active == 0


def test_an_empty_message_has_an_empty_answer(echo):
    events = run(echo, GenerationRequest("echo", messages=(Message("system", "x"),)))
    assert (text(events), events[-1].reason) == ("", "stop")


def test_the_rules_of_real_backends_hold():
    echo = load(info(), LoadOptions(context_size=2))
    with pytest.raises(ContextOverflow) as caught:
        echo.start("r", GenerationRequest("echo", prompt="a b c"), lambda: False)
    data = caught.value.data
    assert (data["prompt_tokens"], data["context_size"], data["over_by"]) == (3, 2, 1)
    with pytest.raises(RequestError, match="max_tokens"):
        echo.start("r", GenerationRequest("echo", prompt="a", max_tokens=0), lambda: False)
    with pytest.raises(BadModelFile, match="GGUF"):
        load(info("GGUF"), LoadOptions())
    assert echo.active == 0
