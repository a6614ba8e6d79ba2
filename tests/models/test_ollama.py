"""Ollama's models through its own library, against a server after its published API."""

from __future__ import annotations

import inspect
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import ollama as library
import pytest

from llmspell_jupyter.errors import (
    Interrupted,
    InvalidModelSpec,
    LLMSpellError,
    ModelNotFound,
    NoSpace,
    PullError,
    Unreachable,
)
from llmspell_jupyter.models import ollama as ours
from llmspell_jupyter.models.ollama import connection, progress, pulling
from llmspell_jupyter.types import PullPhase, PullProgress, PullRequest, Sources
from tests.support import ollama_server

LAYERS = (500_000, 300, 1000)


@pytest.fixture
def server() -> Iterator[ollama_server.Ollama]:
    with ollama_server.ollama() as made:
        made.add("llama3.1:8b", size=4_920_753_328)
        made.add("all-minilm", size=45, family="bert", parameter_size="22.7M", quantization="F16")
        made.offer("qwen3:0.6b", LAYERS)
        yield made


@pytest.fixture
def client(server: ollama_server.Ollama) -> Iterator[library.Client]:
    with library.Client(server.url) as made:
        yield made


def _request(server: ollama_server.Ollama, model: str, **how: Any) -> PullRequest:
    sources = Sources(ollama_url=server.url, **how.pop("sources", {}))
    return PullRequest(model, sources=sources, **how)


def _pull(
    server: ollama_server.Ollama, model: str = "qwen3:0.6b@ollama", **how: Any
) -> list[PullProgress]:
    """All that a pull reports, the last word included."""
    seen: list[PullProgress] = []
    seen.append(ours.pull(_request(server, model, **how), seen.append, threading.Event()))
    return seen


# The server, as the real library sees it


def test_the_library_lists_shows_and_deletes(
    server: ollama_server.Ollama, client: library.Client
) -> None:
    found = client.list().models
    assert [(each.model, each.size) for each in found] == [
        ("llama3.1:8b", 4_920_753_328),
        ("all-minilm:latest", 45),
    ]
    shown = client.show("llama3.1:8b")
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 8192
    assert shown.capabilities == ["completion"]
    assert client.copy("all-minilm", "mine").status == "success"
    assert client.delete("all-minilm").status == "success"
    with pytest.raises(library.ResponseError, match="not found") as caught:
        client.show("all-minilm")
    assert caught.value.status_code == 404


def test_the_library_chats_generates_and_embeds(
    server: ollama_server.Ollama, client: library.Client
) -> None:
    talk = [{"role": "user", "content": "good day"}]
    assert client.chat("llama3.1:8b", talk).message.content == "You said: good day"
    parts = list(client.chat("llama3.1:8b", talk, stream=True))
    assert "".join(each.message.content or "" for each in parts) == "You said: good day"
    assert [each.done for each in parts] == [False] * 4 + [True]
    assert (parts[-1].done_reason, parts[-1].eval_count) == ("stop", 4)
    server.answer = "a b c d"
    cut = client.generate("llama3.1:8b", "x", options={"num_predict": 2})
    assert (cut.response, cut.done_reason) == ("a b", "length")
    assert "".join(each.response for each in client.generate("llama3.1:8b", "x", stream=True)) == (
        "a b c d"
    )
    vectors = client.embed("all-minilm", ["a", "b", "a"], dimensions=4).embeddings
    assert [len(each) for each in vectors] == [4, 4, 4]
    assert vectors[0] == vectors[2] != vectors[1]
    server.tool_calls = [{"function": {"name": "add", "arguments": {"a": 1}}}]
    tool: Any = {"type": "function", "function": {"name": "add", "parameters": {}}}
    for stream in (False, True):
        answer: Any = client.chat("llama3.1:8b", talk, tools=[tool], stream=stream)
        first = next(answer) if stream else answer
        assert first.message.tool_calls[0].function.arguments == {"a": 1}
    assert {each.model for each in client.ps().models} == {"llama3.1:8b", "all-minilm:latest"}
    client.generate("all-minilm", keep_alive=0)
    assert {each.model for each in client.ps().models} == {"llama3.1:8b"}
    with pytest.raises(library.ResponseError, match="not found"):
        client.chat("none", talk)


def test_the_library_pulls(server: ollama_server.Ollama, client: library.Client) -> None:
    states = [each.status for each in client.pull("qwen3:0.6b", stream=True)]
    assert (states[0], states[-1]) == ("pulling manifest", "success")
    assert client.pull("qwen3:0.6b").status == "success"
    with pytest.raises(library.ResponseError, match="does not exist"):
        list(client.pull("none", stream=True))


# What it has


def test_tags_become_models(server: ollama_server.Ollama) -> None:
    llama, embed = ours.tags(server.url)
    assert (llama.id, llama.backend, llama.store) == ("llama3.1:8b", "ollama", "ollama")
    assert (llama.format, llama.quantization, llama.architecture) == ("GGUF", "Q4_K_M", "llama")
    assert (llama.size_bytes, llama.parameter_count) == (4_920_753_328, 8_000_000_000)
    assert llama.modified_at == 1767323045
    assert (embed.id, embed.parameter_count) == ("all-minilm:latest", 22_700_000)


def test_show_running_version_and_delete(
    server: ollama_server.Ollama, client: library.Client
) -> None:
    shown = ours.show(server.url, "llama3.1:8b")
    assert shown["model_info"]["general.parameter_count"] == 8_030_261_248
    assert shown["details"]["quantization_level"] == "Q4_K_M"
    assert ours.version(server.url) == ollama_server.VERSION
    assert ours.running(server.url) == []
    client.generate("llama3.1:8b", "x")
    (model,) = ours.running(server.url)
    assert (model.id, model.context_size) == ("llama3.1:8b", 8192)
    assert model.leaves_at is not None
    assert 0 < model.leaves_at - time.time() <= 300
    ours.delete(server.url, "llama3.1:8b")
    for call in (ours.show, ours.delete):
        with pytest.raises(ModelNotFound) as caught:
            call(server.url, "llama3.1:8b")
        assert ours.LIBRARY in caught.value.hint


# Pulls


def test_a_pull_counts_all_layers(server: ollama_server.Ollama) -> None:
    server.pause = 0.03
    seen = _pull(server)
    assert all(each.model == "qwen3:0.6b" for each in seen)
    phases = list(dict.fromkeys(each.phase for each in seen))
    assert phases == [
        PullPhase.STARTING,
        PullPhase.DOWNLOADING,
        PullPhase.VERIFYING,
        PullPhase.COMPLETE,
    ]
    done = [each.done for each in seen]
    assert done == sorted(done)
    assert any(0 < each.done < sum(LAYERS) for each in seen)
    assert all(each.total is None or each.done <= each.total for each in seen)
    assert any(each.bytes_per_second for each in seen)
    last = seen[-1]
    assert (last.done, last.total, last.percent) == (sum(LAYERS), sum(LAYERS), 100)
    assert [(each.done, each.total) for each in last.files] == [(size, size) for size in LAYERS]
    assert last.metadata["downloaded"] == last.metadata["bytes"] == sum(LAYERS)
    assert "qwen3:0.6b" in server.models
    again = _pull(server)[-1]
    assert (again.metadata["downloaded"], again.metadata["bytes"]) == (0, sum(LAYERS))


def test_what_is_done_never_shrinks(server: ollama_server.Ollama) -> None:
    server.fault("/api/pull", "again")
    server.pause = 0.11
    server.pieces = 2
    done = [each.done for each in _pull(server)]
    assert done == sorted(done)
    course = progress.Course("x")
    course.add({"status": "pulling a", "digest": "a", "total": 10, "completed": 8})
    for line in (
        {"digest": "a", "total": 10, "completed": 2},
        {"digest": "a", "total": 4, "completed": 9},
        {"digest": "a", "total": -1, "completed": -5},
        {"digest": "b", "total": "x", "completed": None},
        {"status": "pulling manifest"},
    ):
        course.add(line)
        assert course.now().done == 8
        assert course.now().phase is PullPhase.DOWNLOADING
    assert course.now().total is None


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("qwen3:0.6b@ollama", "qwen3:0.6b"),
        ("ollama/qwen3:0.6b", "qwen3:0.6b"),
        ("phi@ollama", "phi:latest"),
        ("someone/model:q4@ollama", "someone/model:q4"),
        ("hf.co/acme/tiny-GGUF:Q8_0@ollama", "hf.co/acme/tiny-GGUF:Q8_0"),
    ],
)
def test_names_are_those_of_ollama(server: ollama_server.Ollama, typed: str, asked: str) -> None:
    server.offer(asked)
    assert _pull(server, typed)[-1].model == asked
    assert server.requests[-1].body["model"] == asked


def test_what_ollama_cannot_do(server: ollama_server.Ollama) -> None:
    server.offer("hf.co/acme/tiny-GGUF:Q5_0")
    name = "hf.co/acme/tiny-GGUF@ollama"
    assert _pull(server, name, quantization="Q5_0")[-1].model == "hf.co/acme/tiny-GGUF:Q5_0"
    with pytest.raises(InvalidModelSpec, match="in the tag"):
        _pull(server, quantization="Q5_0")
    with pytest.raises(InvalidModelSpec, match="no revisions"):
        _pull(server, revision="main")
    assert "the limit does not hold" in _pull(server, bytes_per_second=9)[0].note


def test_an_unknown_model(server: ollama_server.Ollama) -> None:
    with pytest.raises(ModelNotFound, match="does not exist") as caught:
        _pull(server, "none@ollama")
    assert ours.LIBRARY in caught.value.hint


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "error", "lines": 3, "message": "digest mismatch,\n retry"}, PullError),
        ({"kind": "error", "lines": 0, "message": "write: no space left on device"}, NoSpace),
        ({"kind": "drop", "lines": 3}, PullError),
        ({"kind": "garbage", "lines": 2}, PullError),
        ({"kind": "status", "status": 500}, PullError),
    ],
)
def test_servers_that_fail(
    server: ollama_server.Ollama, fault: dict[str, Any], expected: type[LLMSpellError]
) -> None:
    server.fault("/api/pull", times=1, **fault)
    with pytest.raises(expected) as caught:
        _pull(server)
    assert type(caught.value) is expected
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert _pull(server)[-1].phase is PullPhase.COMPLETE


@pytest.mark.parametrize("kind", ["stall", "silent"])
def test_a_stop_closes_the_stream_at_once(server: ollama_server.Ollama, kind: Any) -> None:
    server.fault("/api/pull", kind, lines=4)
    stop = threading.Event()

    def report(progress: PullProgress) -> None:
        if kind == "silent" or progress.phase is PullPhase.DOWNLOADING:
            threading.Timer(0.3, stop.set).start()

    began = time.monotonic()
    with pytest.raises(Interrupted, match="qwen3"):
        ours.pull(_request(server, "qwen3:0.6b@ollama"), report, stop)
    # The server would be silent for ever; ten minutes is when it would be given up.
    assert time.monotonic() - began < 10
    assert server.requests[-1].gone.wait(10)
    assert not [each for each in threading.enumerate() if each.name.endswith("(_read)")]


def test_a_silent_server_is_told_of(
    server: ollama_server.Ollama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "_QUIET_SECONDS", 0.1)
    server.fault("/api/pull", "stall", lines=4)
    stop = threading.Event()
    seen: list[PullProgress] = []

    def report(progress: PullProgress) -> None:
        seen.append(progress)
        if progress.note:
            stop.set()

    with pytest.raises(Interrupted):
        ours.pull(_request(server, "qwen3:0.6b@ollama"), report, stop)
    assert f"Ollama at {server.url} is silent" in seen[-1].note
    monkeypatch.setattr(pulling, "_SILENT_SECONDS", 0.3)
    with pytest.raises(Unreachable, match="in time"):
        _pull(server)


# Servers that are not there


def test_no_server_is_an_error_within_two_seconds() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        request = PullRequest("phi@ollama", sources=Sources(ollama_url=url))
        for call in (
            lambda: ours.tags(url),
            lambda: ours.version(url),
            lambda: ours.running(url),
            lambda: ours.show(url, "phi"),
            lambda: ours.delete(url, "phi"),
            lambda: ours.pull(request, lambda _: None, threading.Event()),
        ):
            began = time.monotonic()
            with pytest.raises(Unreachable, match="nothing answers there") as caught:
                call()
            assert time.monotonic() - began < 2
            assert "ollama serve" in caught.value.hint
            assert "OLLAMA_HOST" in caught.value.hint


def test_a_server_that_does_not_answer(server: ollama_server.Ollama) -> None:
    server.fault("/api/tags", "silent")
    began = time.monotonic()
    with pytest.raises(Unreachable, match="in time"):
        ours.tags(server.url)
    assert time.monotonic() - began < 4


def test_offline_fetches_nothing(server: ollama_server.Ollama) -> None:
    with pytest.raises(Unreachable, match="works offline"):
        _pull(server, sources={"offline": True})
    assert server.requests == []


def test_a_proxy_is_not_asked_for_this_machine(
    server: ollama_server.Ollama, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert len(ours.tags(server.url)) == 2
    assert ours.version(server.url)
    assert _pull(server)[-1].phase is PullPhase.COMPLETE


def test_something_else_answers_there() -> None:
    from tests.support import hub_server

    with hub_server.hub() as hub:
        for call in (ours.tags, ours.version, ours.running):
            with pytest.raises(LLMSpellError) as caught:
                call(hub.url)
            assert caught.value.hint
    with pytest.raises(PullError, match="OLLAMA_HOST"):
        ours.tags("http://127.0.0.1:99999")


def test_every_error_of_the_library_has_one_of_ours() -> None:
    found = 0
    for module in (library, httpx):
        for cls in vars(module).values():
            if not (inspect.isclass(cls) and issubclass(cls, Exception)):
                continue
            error = cls.__new__(cls)
            Exception.__init__(error, "x")
            error.error, error.status_code = "x", 500  # type: ignore[attr-defined]
            made = connection.mapped(error, "http://127.0.0.1:1", "phi")
            assert isinstance(made, PullError), cls
            assert made.hint
            found += 1
    assert found > 25
