"""The engine as other rooms see it."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmspell_jupyter.engine.client import EngineClient, Part
from llmspell_jupyter.errors import (
    AnswerTimeout,
    ContextOverflow,
    EngineBusy,
    EngineError,
    InvalidModelSpec,
    ModelNotFound,
    RequestError,
)
from llmspell_jupyter.types import (
    Chunk,
    Completion,
    GenerationRequest,
    LoadOptions,
    Message,
    Phase,
    Progress,
    Sampling,
)
from tests.support.engines import (
    ECHO,
    ENDLESS,
    PATIENCE,
    SMOLLM2,
    RunningEngine,
    attach,
    in_this_process,
    python,
    runtime_folder,
    wait_for,
)

SOON = 2.0


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with (
        runtime_folder(LLMSPELL_ENGINE_QUEUE_LIMIT="1") as variables,
        in_this_process(variables),
    ):
        yield variables


@pytest.fixture(scope="module")
def client(environment: dict[str, str]) -> Iterator[EngineClient]:
    made = EngineClient()
    yield made
    made.close()


@pytest.fixture
def running(environment: dict[str, str], client: EngineClient) -> Iterator[RunningEngine]:
    assert client.status(start_engine=True)
    found = attach(environment)
    assert found is not None
    yield found
    found.http.close()


def chat(text: str) -> GenerationRequest:
    return GenerationRequest(ECHO, messages=(Message("user", text),))


def endless() -> GenerationRequest:
    sampling = Sampling(temperature=0, repeat_penalty=1)
    return GenerationRequest(
        SMOLLM2,
        prompt=str(ENDLESS["prompt"]),
        max_tokens=4000,
        sampling=sampling,
        # A second request waits.
        options=LoadOptions(max_concurrent=1),
    )


def text_of(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Chunk))


def until_it_answers(parts: Iterator[Part]) -> None:
    wait_for(lambda: isinstance(next(parts), Chunk))


def test_no_engine_is_started_to_ask_for_one(environment: dict[str, str]) -> None:
    with runtime_folder() as private, in_this_process(private):
        lonely = EngineClient()
        assert lonely.status() is None
        assert lonely.shutdown() is False
        assert attach(private) is None
        lonely.close()


@pytest.mark.parametrize(
    "text", ["one two three", "", "  \n", "naïve 日本語 👩\u200d🚀 \x00\x1b[31m", "x " * 3000]
)
def test_chunks_make_up_the_completion(client: EngineClient, text: str) -> None:
    parts = list(client.generate(GenerationRequest(ECHO, prompt=text, max_tokens=4000)))
    last = parts[-1]
    assert isinstance(last, Completion)
    assert last.text == text_of(parts) == (text if text.strip() else "")
    assert last.finish_reason == "stop"
    counts = [part.tokens for part in parts if isinstance(part, Chunk)]
    assert counts == sorted(counts)
    assert last.metadata["completion_tokens"] == (counts[-1] if counts else 0)


def test_messages_and_options_reach_the_model(client: EngineClient, running: RunningEngine) -> None:
    messages = (Message("system", "Be brief."), Message("user", "a b stop c"))
    request = GenerationRequest(
        f"{ECHO}@local",
        messages=messages,
        max_tokens=9,
        stop=("stop",),
        sampling=Sampling(seed=7),
        options=LoadOptions(context_size=77),
    )
    *_, last = client.generate(request)
    assert isinstance(last, Completion) and last.text == "a b "
    assert last.metadata["seed"] == 7 and last.metadata["context_size"] == 77
    assert last.metadata["model"] == ECHO and last.metadata["backend"] == "candle"


def test_phases_come_in_order(client: EngineClient) -> None:
    request = GenerationRequest(ECHO, prompt="a b", options=LoadOptions(context_size=78))
    phases = [part.phase for part in client.generate(request) if isinstance(part, Progress)]
    assert phases == [Phase.LOADING, Phase.READING]


def test_errors_arrive_as_they_were_raised(client: EngineClient) -> None:
    with pytest.raises(ModelNotFound) as not_found:
        list(client.generate(GenerationRequest("smolm2:135m", prompt="x")))
    assert not_found.value.data["nearest"] == [SMOLLM2] and SMOLLM2 in not_found.value.hint
    with pytest.raises(InvalidModelSpec):
        list(client.generate(GenerationRequest("a b", prompt="x")))
    with pytest.raises(RequestError, match="max_tokens"):
        list(client.generate(GenerationRequest(ECHO, prompt="x", max_tokens=0)))
    with pytest.raises(RequestError, match="temperature"):
        list(client.generate(GenerationRequest(ECHO, prompt="x", sampling=Sampling(math.nan))))
    with pytest.raises(RequestError, match="half a character"):
        list(client.generate(GenerationRequest(ECHO, prompt="x \ud800 y")))
    with pytest.raises(ContextOverflow) as overflow:
        list(client.generate(GenerationRequest(ECHO, prompt="x " * 5000)))
    assert overflow.value.data["over_by"] == 5000 - 4096
    assert text_of(list(client.generate(chat("still well")))) == "still well"


def test_a_folder_that_cannot_be_used_is_an_error_and_no_empty_answer(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    variables = {**os.environ, "JUPYTER_RUNTIME_DIR": str(tmp_path / "file" / "runtime")}
    with in_this_process(variables):
        client = EngineClient()
        with pytest.raises(EngineError, match="NotADirectoryError"):
            list(client.generate(chat("hello")))
        client.close()


def test_models_and_status(client: EngineClient, running: RunningEngine) -> None:
    found = {model.id: model for model in client.models()}[SMOLLM2]
    assert found.architecture == "llama" and found.quantization == "Q4_1" and found.bundled
    assert found.path.is_file() and found.path.stat().st_size == found.size_bytes
    status = client.status()
    assert status is not None and status["pid"] == running.process.pid
    assert status["transport"] == running.connection.transport and status["jobs"] == []


def test_cancel_ends_the_iteration_and_the_job(
    client: EngineClient, running: RunningEngine
) -> None:
    generation = client.generate(endless())
    parts = iter(generation)
    until_it_answers(parts)
    generation.cancel()
    generation.cancel()
    assert not [part for part in parts if isinstance(part, Completion)]
    wait_for(lambda: not running.jobs(), SOON)


def test_cancel_before_anything_began(client: EngineClient, running: RunningEngine) -> None:
    for _ in range(20):
        generation = client.generate(endless())
        generation.cancel()
        assert not [part for part in generation if isinstance(part, Completion)]
    wait_for(lambda: not running.jobs(), SOON)
    assert text_of(list(client.generate(chat("hello")))) == "hello"


def test_cancel_from_another_thread(client: EngineClient, running: RunningEngine) -> None:
    generation = client.generate(endless())
    parts = iter(generation)
    until_it_answers(parts)
    timer = threading.Timer(0.2, generation.cancel)
    timer.start()
    started = time.monotonic()
    list(parts)
    assert time.monotonic() - started < SOON
    timer.join()
    wait_for(lambda: not running.jobs(), SOON)


def test_a_time_limit(client: EngineClient, running: RunningEngine) -> None:
    started = time.monotonic()
    with pytest.raises(AnswerTimeout, match=r"0\.5s") as caught:
        list(client.generate(endless()).within(0.5))
    assert 0.5 <= time.monotonic() - started < 0.5 + SOON
    assert caught.value.data == {"seconds": 0.5}
    wait_for(lambda: not running.jobs(), SOON)


def test_the_queue_and_its_end(client: EngineClient, running: RunningEngine) -> None:
    first = client.generate(endless())
    until_it_answers(iter(first))
    second = client.generate(endless())
    place = next(iter(second))
    assert place == Progress(Phase.QUEUED, 1)
    with pytest.raises(EngineBusy):
        list(client.generate(endless()))
    second.cancel()
    first.cancel()
    wait_for(lambda: not running.jobs(), SOON)


def test_many_at_once(client: EngineClient) -> None:
    """Ten threads, each with requests of its own; the queue holds two, so others ask again."""
    wrong: list[str] = []

    def ask(number: int) -> None:
        options = LoadOptions(context_size=100 + number % 5)
        for turn in range(5):
            text = f"words of {number} in turn {turn}"
            while True:
                try:
                    parts = list(
                        client.generate(GenerationRequest(ECHO, prompt=text, options=options))
                    )
                except EngineBusy:
                    continue
                break
            if text_of(parts) != text:
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not wrong


def test_a_closed_client_can_be_used_again(environment: dict[str, str]) -> None:
    client = EngineClient()
    threads = threading.active_count()
    for _ in range(3):
        assert text_of(list(client.generate(chat("hello")))) == "hello"
        client.close()
        client.close()
    wait_for(lambda: threading.active_count() <= threads)


def test_closing_cancels_what_is_under_way(
    environment: dict[str, str], running: RunningEngine
) -> None:
    client = EngineClient()
    parts = iter(client.generate(endless()))
    until_it_answers(parts)
    client.close()
    assert not [part for part in parts if isinstance(part, Completion)]
    wait_for(lambda: not running.jobs(), SOON)


def test_a_program_ends_while_it_streams(
    environment: dict[str, str], running: RunningEngine
) -> None:
    code = f"""
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.types import Chunk, GenerationRequest
for part in EngineClient().generate(GenerationRequest({SMOLLM2!r}, prompt="a b a b", max_tokens=4000)):
    if isinstance(part, Chunk):
        break
"""
    endless()
    with python(environment | {"JPY_PARENT_PID": str(os.getpid())}, "-c", code) as program:
        _, errors = program.communicate(timeout=PATIENCE)
    assert program.returncode == 0 and errors == ""
    wait_for(lambda: not running.jobs(), SOON)


def test_no_proxy_and_no_certificate_is_looked_for(environment: dict[str, str]) -> None:
    variables = {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
        "SSL_CERT_FILE": "/no/such/file",
        "JPY_PARENT_PID": str(os.getpid()),
    }
    code = """
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.types import GenerationRequest
*_, last = EngineClient().generate(GenerationRequest("echo", prompt="hello"))
print(last.text)
"""
    with (
        runtime_folder(LLMSPELL_ENGINE_TRANSPORT="tcp", **variables) as private,
        python(private, "-c", code) as program,
    ):
        output, errors = program.communicate(timeout=PATIENCE)
    assert output.strip() == "hello", errors
