"""Programs that know nothing of this package talk to the engine: ``openai`` and ``llm``."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.support.engines import ECHO, SMOLLM2, RunningEngine, engine, jupyter_llmspell

QUESTION: Any = [{"role": "user", "content": "hello there"}]


class City(BaseModel):
    population: int


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEngine]:
    with engine(LLMSPELL_ENGINE_TRANSPORT="tcp") as started:
        yield started


@pytest.fixture(scope="module")
def variables(running: RunningEngine) -> dict[str, str]:
    """What a shell has after it has read the lines of `engine env`."""
    printed = jupyter_llmspell(running.environment, "engine", "env")
    assert printed.returncode == 0, printed.stderr
    lines = [shlex.split(line) for line in printed.stdout.splitlines()]
    assert all(words[0] == "export" and len(words) == 2 for words in lines)
    return dict(words[1].split("=", 1) for words in lines)


@pytest.fixture(scope="module")
def client(variables: dict[str, str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=variables["OPENAI_BASE_URL"], api_key=variables["OPENAI_API_KEY"], max_retries=0
    ) as made:
        yield made


def test_the_models(client: openai.OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert SMOLLM2 in listed
    assert client.models.retrieve(SMOLLM2) == listed[SMOLLM2]
    with pytest.raises(openai.NotFoundError, match="'smolm2' is not on this machine"):
        client.models.retrieve("smolm2")


def test_a_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=ECHO, messages=QUESTION, n=1, user="somebody", seed=7, store=False, temperature=0
    )
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "hello there")
    assert choice.finish_reason == "stop"
    assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 2)
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


def test_an_answer_goes_back_with_the_next_question(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model=SMOLLM2, messages=QUESTION, max_tokens=2)
    said = first.choices[0].message
    for given in (said, said.model_dump()):
        messages: Any = [*QUESTION, given, *QUESTION]
        again = client.chat.completions.create(model=SMOLLM2, messages=messages, max_tokens=1)
        assert again.choices[0].message.content
        assert first.usage and again.usage
        assert again.usage.prompt_tokens > first.usage.prompt_tokens


def test_a_streamed_chat_with_usage(client: openai.OpenAI) -> None:
    text, used, reasons = "", None, []
    with client.chat.completions.create(
        model=ECHO, messages=QUESTION, stream=True, stream_options={"include_usage": True}
    ) as stream:
        for part in stream:
            used = part.usage or used
            for choice in part.choices:
                text += choice.delta.content or ""
                reasons.append(choice.finish_reason)
    assert text == "hello there"
    assert used is not None and used.total_tokens == 4
    assert reasons[-1] == "stop" and set(reasons[:-1]) == {None}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_asynchronous_stream(variables: dict[str, str], anyio_backend: str) -> None:
    async with openai.AsyncOpenAI(
        base_url=variables["OPENAI_BASE_URL"], api_key=variables["OPENAI_API_KEY"], max_retries=0
    ) as client:
        stream = await client.chat.completions.create(model=ECHO, messages=QUESTION, stream=True)
        parts = [part.choices[0].delta.content or "" async for part in stream if part.choices]
    assert "".join(parts) == "hello there"


def test_a_stream_that_is_left_ends_in_the_engine(
    running: RunningEngine, client: openai.OpenAI
) -> None:
    with client.completions.create(
        model=SMOLLM2, prompt="a b a b a b", max_tokens=4000, temperature=0, stream=True
    ) as stream:
        assert next(iter(stream)).choices[0].text
        assert len(running.jobs()) == 1
    with client.chat.completions.with_streaming_response.create(
        model=SMOLLM2, messages=QUESTION, max_tokens=3
    ) as response:
        assert response.parse().choices[0].message.content
    assert running.jobs() == []


def test_completions(client: openai.OpenAI) -> None:
    plain = client.completions.create(model=ECHO, prompt="a b c", best_of=1, echo=False)
    assert plain.choices[0].text == "a b c"
    streamed = client.completions.create(model=ECHO, prompt=["a b c"], stream=True)
    assert "".join(part.choices[0].text for part in streamed if part.choices) == "a b c"
    stopped = client.completions.create(model=ECHO, prompt="a b c d", stop=["c"])
    assert stopped.choices[0].text == "a b "


def test_the_same_seed_gives_the_same_answer(client: openai.OpenAI) -> None:
    def answer(seed: int) -> str:
        made = client.completions.create(
            model=SMOLLM2, prompt="Once upon a time", max_tokens=12, temperature=1.5, seed=seed
        )
        return made.choices[0].text

    assert answer(11) == answer(11)
    assert len({answer(seed) for seed in (11, 12, 13)}) > 1


def test_embeddings_as_the_client_asks_and_as_numbers(client: openai.OpenAI) -> None:
    texts = ["one text", "another"]
    packed = client.embeddings.create(model=ECHO, input=texts)
    listed = client.embeddings.create(model=ECHO, input=texts, encoding_format="float")
    assert [each.index for each in packed.data] == [0, 1]
    for one, other in zip(packed.data, listed.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert sum(number**2 for number in one.embedding) == pytest.approx(1, abs=1e-5)
    assert packed.usage.total_tokens == 3


def test_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=SMOLLM2, messages=QUESTION, logprobs=True, top_logprobs=2, max_tokens=3, temperature=0
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    text = "".join(each.token for each in logprobs.content)
    assert answer.choices[0].message.content == text
    for each in logprobs.content:
        assert len(each.top_logprobs) == 2
        assert each.logprob == pytest.approx(max(top.logprob for top in each.top_logprobs))


def test_answers_that_follow_a_schema(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(
        model=SMOLLM2, messages=QUESTION, response_format=City, max_tokens=60, temperature=0
    )
    assert isinstance(parsed.choices[0].message.parsed, City)
    free = client.chat.completions.create(
        model=SMOLLM2,
        messages=QUESTION,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "city", "schema": City.model_json_schema()},
        },
        max_tokens=60,
    )
    City.model_validate_json(free.choices[0].message.content or "")


HARMLESS: list[dict[str, Any]] = [
    {"tools": []},
    {"tools": None, "tool_choice": "auto", "parallel_tool_calls": True},
    {"modalities": ["text"], "service_tier": "auto", "verbosity": "medium"},
    {"reasoning_effort": "none", "safety_identifier": "x", "prompt_cache_key": "y"},
    {"metadata": {"run": "1"}, "store": True},
]


@pytest.mark.parametrize("fields", HARMLESS, ids=lambda fields: "-".join(fields))
def test_fields_that_ask_for_nothing(client: openai.OpenAI, fields: dict[str, Any]) -> None:
    answer = client.chat.completions.create(model=ECHO, messages=QUESTION, **fields)
    assert answer.choices[0].message.content == "hello there"


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"temperature": -3}, "temperature: input should be greater than or equal to 0."),
    ({"n": 2}, "n: input should be 1."),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools: is not supported"),
    ({"tool_choice": "required"}, "tool_choice: is not supported by this engine.\nLeave it out."),
    ({"reasoning_effort": "high"}, "reasoning_effort: is not supported"),
    ({"modalities": ["text", "audio"]}, "modalities: is not supported"),
    ({"extra_body": {"tempurature": 1}}, "tempurature: is not supported"),
]


@pytest.mark.parametrize(("fields", "says"), MISTAKES, ids=lambda value: str(value)[:30])
def test_a_bad_request(client: openai.OpenAI, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=ECHO, messages=QUESTION, **fields)
    assert says in caught.value.message
    assert caught.value.type == "RequestError"
    assert caught.value.param == says.partition(":")[0]


def test_only_one_prompt_at_a_time(client: openai.OpenAI) -> None:
    for prompt in (["a", "b"], [1, 2, 3]):
        with pytest.raises(openai.BadRequestError, match="prompt: one text"):
            client.completions.create(model=ECHO, prompt=prompt)  # type: ignore[call-overload]


def test_what_the_engine_has_not(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="This engine has no POST /v1/responses"):
        client.responses.create(model=ECHO, input="hello")
    with pytest.raises(openai.NotFoundError, match="'wizard' is not on this machine"):
        client.chat.completions.create(model="wizard", messages=QUESTION)


def test_a_wrong_token(variables: dict[str, str]) -> None:
    for key in ("wrong", variables["OPENAI_API_KEY"][:-1]):
        with openai.OpenAI(
            base_url=variables["OPENAI_BASE_URL"], api_key=key, max_retries=0
        ) as client:
            with pytest.raises(openai.AuthenticationError, match="token is missing or wrong"):
                client.models.list()
            with pytest.raises(openai.AuthenticationError):
                client.chat.completions.create(model=ECHO, messages=QUESTION, stream=True)


def test_the_variables_alone_are_enough(
    running: RunningEngine, variables: dict[str, str], tmp_path: Path
) -> None:
    code = "import openai; print([model.id for model in openai.OpenAI().models.list()])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=running.environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert SMOLLM2 in done.stdout, done.stderr


def test_the_token_is_printed_only_when_it_is_asked_for(running: RunningEngine) -> None:
    status = jupyter_llmspell(running.environment, "engine", "status").stdout
    assert f"{running.connection.url}/v1" in status and "llmspell-engine.json" in status
    facts = jupyter_llmspell(running.environment, "--output", "json", "engine", "status").stdout
    assert json.loads(facts)["openai_base_url"] == f"{running.connection.url}/v1"
    assert running.connection.token not in status + facts


def test_without_an_engine_that_clients_reach_the_command_says_what_to_do() -> None:
    with engine(LLMSPELL_ENGINE_TRANSPORT="unix") as local:
        done = jupyter_llmspell(local.environment, "engine", "env")
        assert done.returncode == 1 and "engine serve --tcp" in done.stderr
        assert done.stdout == ""
        status = jupyter_llmspell(local.environment, "engine", "status").stdout
        assert local.connection.address in status


# The command `llm`


class Llm:
    """The command with a private folder of its own."""

    def __init__(self, folder: Path, running: RunningEngine, variables: dict[str, str]):
        models = [
            {"model_id": "mine", "model_name": ECHO},
            {"model_id": "mine-at-once", "model_name": ECHO, "can_stream": False},
            {"model_id": "mine-text", "model_name": ECHO, "completion": True},
            {"model_id": "mine-schema", "model_name": SMOLLM2, "supports_schema": True},
        ]
        common = {"api_base": variables["OPENAI_BASE_URL"], "api_key_name": "llmspell"}
        # JSON is YAML.
        (folder / "extra-openai-models.yaml").write_text(
            json.dumps([model | common for model in models])
        )
        (folder / "keys.json").write_text(json.dumps({"llmspell": variables["OPENAI_API_KEY"]}))
        self._environment = running.environment | {"LLM_USER_PATH": str(folder)}

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "llm", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def llm(
    tmp_path_factory: pytest.TempPathFactory, running: RunningEngine, variables: dict[str, str]
) -> Llm:
    return Llm(tmp_path_factory.mktemp("llm"), running, variables)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-m", "mine"),
        ("-m", "mine", "--no-stream", "-o", "temperature", "0.5", "-o", "seed", "3"),
        ("-m", "mine-at-once"),
        ("-m", "mine-text"),
    ],
    ids="-".join,
)
def test_llm_answers(llm: Llm, arguments: tuple[str, ...]) -> None:
    done = llm(*arguments, "hello there")
    assert (done.returncode, done.stdout) == (0, "hello there\n"), done.stderr


def test_llm_goes_on_with_a_conversation(llm: Llm) -> None:
    assert llm("-m", "mine", "the first question").returncode == 0
    done = llm("-c", "the second")
    assert (done.returncode, done.stdout) == (0, "the second\n"), done.stderr


def test_llm_with_a_schema(llm: Llm) -> None:
    schema = json.dumps(City.model_json_schema())
    done = llm("-m", "mine-schema", "--schema", schema, "-o", "max_tokens", "60", "hello")
    assert done.returncode == 0, done.stderr
    City.model_validate_json(done.stdout)


def test_llm_says_what_the_engine_says(llm: Llm) -> None:
    wrong = llm("-m", "mine", "--key", "wrong", "hello")
    assert wrong.returncode != 0 and "token is missing or wrong" in wrong.stderr
    bad = llm("-m", "mine-at-once", "-o", "max_tokens", "0", "hello")
    assert bad.returncode != 0 and "max_tokens" in bad.stderr
