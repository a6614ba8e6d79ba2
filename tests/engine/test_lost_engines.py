"""Engines that end, hang or break off while they are asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from llmspell_jupyter.engine import control, start
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.errors import EngineDied, LLMSpellError
from llmspell_jupyter.types import Completion, GenerationRequest, PullPhase
from tests.support.engine_proxy import EngineProxy, engine_proxy
from tests.support.engines import (
    ECHO,
    PATIENCE,
    RunningEngine,
    attach,
    engine,
    gone_within,
    in_this_process,
)


@pytest.fixture
def running() -> Iterator[RunningEngine]:
    with engine() as made, in_this_process(made.environment):
        yield made


@pytest.fixture
def proxy(running: RunningEngine) -> Iterator[EngineProxy]:
    with engine_proxy(running) as made:
        yield made


def _generate(client: EngineClient) -> None:
    *_, last = client.generate(GenerationRequest(ECHO, prompt="hello"))
    assert isinstance(last, Completion) and last.text == "hello"


def _models(client: EngineClient) -> None:
    assert client.models()


def _info(client: EngineClient) -> None:
    assert client.info("smollm2:135m")


def _verify(client: EngineClient) -> None:
    *_, last = client.verify("smollm2:135m")
    assert last.phase is PullPhase.COMPLETE


ASKED = {
    _generate: "POST /v1/completions",
    _models: "GET /api/models",
    _info: "POST /api/info",
    _verify: "POST /api/verify",
}


def test_models_on_a_slow_disk_are_waited_for(
    client: EngineClient, proxy: EngineProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "_ANSWER_SECONDS", 2.0)
    slow = proxy.hold("GET /api/models")
    timer = threading.Timer(3.0, slow.set)
    timer.start()
    assert client.models()
    timer.join()


@pytest.mark.parametrize("use", ASKED)
def test_an_engine_that_breaks_off_is_named_with_what_to_type(
    client: EngineClient, proxy: EngineProxy, use: Callable[[EngineClient], None]
) -> None:
    proxy.cut(ASKED[use])
    with pytest.raises(EngineDied, match=r"engine \(process \d+\) ended while it") as caught:
        use(client)
    assert "again" in caught.value.hint or "%llmspell_engine" in caught.value.hint
    # What may have been done is not asked for twice.
    assert proxy.asked.count(ASKED[use]) == 1


@pytest.mark.parametrize("use", ASKED)
def test_one_that_ends_just_before_it_is_asked_is_followed_by_the_next(
    running: RunningEngine,
    client: EngineClient,
    proxy: EngineProxy,
    use: Callable[[EngineClient], None],
) -> None:
    proxy.before["GET /api/status"] = lambda: _end(running, proxy)
    use(client)
    after = attach(running.environment)
    assert after is not None and after.process != running.process


def _end(running: RunningEngine, proxy: EngineProxy) -> None:
    proxy.stop_listening()
    running.process.terminate()
    assert gone_within([running.process], PATIENCE)


def test_none_is_started_only_to_end_something(
    running: RunningEngine, client: EngineClient, proxy: EngineProxy
) -> None:
    proxy.before["GET /api/status"] = lambda: _end(running, proxy)
    assert client.unload("smollm2:135m") == 0
    assert client.cancel_job("job") is False
    assert client.shutdown() is False
    assert attach(running.environment) is None


def _break_off(proxy: EngineProxy) -> None:
    proxy.cut("POST /api/shutdown")


def _cannot_be_reached(proxy: EngineProxy) -> None:
    proxy.stop_listening()


@pytest.mark.parametrize("trouble", [_break_off, _cannot_be_reached])
def test_a_stop_ends_an_engine_whatever_it_answers(
    running: RunningEngine,
    client: EngineClient,
    proxy: EngineProxy,
    trouble: Callable[[EngineProxy], None],
) -> None:
    _generate(client)
    family = running.family()
    assert len(family) == 2
    trouble(proxy)
    assert control.stop(client) == running.process.pid
    assert gone_within(family, PATIENCE)
    assert client.status() is None


def test_a_shutdown_that_breaks_off_is_an_error_with_a_hint(
    client: EngineClient, proxy: EngineProxy
) -> None:
    _break_off(proxy)
    with pytest.raises(LLMSpellError) as caught:
        client.shutdown()
    assert caught.value.hint
