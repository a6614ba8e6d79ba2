"""Vectors, tokens, loads, log-probabilities and answers that must be whole, over the socket."""

from __future__ import annotations

import base64
import json
import math
import struct
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engines import (
    ECHO,
    ENDLESS,
    SMOLLM2,
    RunningEngine,
    engine,
    gone_within,
    wait_for,
)

SOON = 2.0

SLOW = "echo:slow"

#: What every answer tells.
METADATA = {
    *("device", "engine_backend", "architecture", "quantization", "seed", "load_ms"),
    *("prompt_tokens", "completion_tokens", "cached_tokens"),
    *("time_to_first_token_ms", "tokens_per_second"),
}


@pytest.fixture(scope="module")
def echo() -> Iterator[RunningEngine]:
    with engine() as running:
        yield running


def post(echo: RunningEngine, path: str, **body: Any) -> dict[str, Any]:
    response = echo.http.post(path, json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def refused(echo: RunningEngine, path: str, status: int, **body: Any) -> dict[str, Any]:
    response = echo.http.post(path, json=body)
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]["llmspell"]
    return error


@pytest.mark.parametrize("model", [ECHO, SMOLLM2])
def test_every_answer_tells_what_ran_where(echo: RunningEngine, model: str) -> None:
    answer = echo.chat("one two three", model, max_tokens=3, seed=5).json()
    metadata = answer["llmspell"]["metadata"]
    assert metadata.keys() >= METADATA
    assert metadata["device"] == "cpu" and metadata["seed"] == 5
    assert metadata["completion_tokens"] == 3 and metadata["time_to_first_token_ms"] > 0
    assert metadata["load_ms"] > 0
    again = echo.chat("one two three", model, max_tokens=3).json()["llmspell"]["metadata"]
    assert again["load_ms"] == 0 and isinstance(again["seed"], int)


# Vectors


def test_vectors(echo: RunningEngine) -> None:
    answer = post(echo, "/v1/embeddings", model=ECHO, input=["a b", "c", "a b"], user="me")
    assert answer["object"] == "list" and answer["model"] == ECHO
    assert [each["index"] for each in answer["data"]] == [0, 1, 2]
    first, second, third = (each["embedding"] for each in answer["data"])
    assert first == third != second and len(first) == 8
    assert math.hypot(*first) == pytest.approx(1)
    assert answer["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert answer["llmspell"]["metadata"]["engine_backend"] == "echo"

    packed = post(echo, "/v1/embeddings", model=ECHO, input="a b", encoding_format="base64")
    assert list(struct.unpack("<8f", base64.b64decode(packed["data"][0]["embedding"]))) == first

    short = post(echo, "/v1/embeddings", model=ECHO, input="a b", dimensions=4)
    assert len(short["data"][0]["embedding"]) == 4


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"input": [1, 2]}, "input: holds token ids"),
        ({"input": [[1, 2], [3]]}, "input: holds token ids"),
        ({"input": []}, "input: is an empty list"),
        ({"input": ["a", None]}, "input.1: .*string"),
        ({"input": 3}, "input: .*string"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format: .*base64"),
        ({"input": "a", "dimensions": 0}, "dimensions: .*1"),
        ({"prompt": "a"}, "prompt|input"),
    ],
    ids=str,
)
def test_vectors_of_what_is_no_text(echo: RunningEngine, body: Any, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        post(echo, "/v1/embeddings", model=ECHO, **body)


# Tokens


def test_tokens(echo: RunningEngine) -> None:
    answer = post(echo, "/v1/tokenize", model=ECHO, prompt="one two three")
    assert answer["tokens"] == [0, 1, 2] and answer["count"] == 3
    assert answer["model"] == ECHO and answer["context_size"] == 4096


def test_tokens_are_those_of_the_model(echo: RunningEngine) -> None:
    said = {"messages": [{"role": "user", "content": "Hello there."}]}
    counted = post(echo, "/v1/tokenize", model=SMOLLM2, **said)["count"]
    answered = echo.chat("Hello there.", SMOLLM2, max_tokens=1).json()
    assert counted == answered["usage"]["prompt_tokens"]
    plain = post(echo, "/v1/tokenize", model=SMOLLM2, prompt="Hello there.")["count"]
    assert 0 < plain < counted


def test_tokens_are_counted_while_the_model_answers(echo: RunningEngine) -> None:
    with echo.answering():
        assert post(echo, "/v1/tokenize", model=SMOLLM2, prompt="Hello there.")["count"]


@pytest.mark.parametrize(
    "said", [{}, {"prompt": "x", "messages": [{"role": "user", "content": "x"}]}]
)
def test_tokens_of_one_thing(echo: RunningEngine, said: Any) -> None:
    assert "not both" in refused(echo, "/v1/tokenize", 400, model=ECHO, **said)["message"]


# Log-probabilities


def test_logprobs_of_a_chat(echo: RunningEngine) -> None:
    body = {"model": ECHO, "messages": [{"role": "user", "content": "é two"}]}
    plain = post(echo, "/v1/chat/completions", **body)
    assert plain["choices"][0]["logprobs"] is None
    word = {"token": "é ", "logprob": 0.0, "bytes": [195, 169, 32]}
    for top, alternatives in ((0, []), (1, [word])):
        asked = body | {"logprobs": True, "top_logprobs": top}
        content = post(echo, "/v1/chat/completions", **asked)["choices"][0]["logprobs"]["content"]
        assert content[0] == word | {"top_logprobs": alternatives} and len(content) == 2
        with echo.stream("/v1/chat/completions", asked) as stream:
            choices = [value["choices"][0] for value in stream if value != "[DONE]"]
        streamed = [
            each for choice in choices for each in (choice["logprobs"] or {}).get("content", ())
        ]
        assert streamed == content


def test_logprobs_of_a_text(echo: RunningEngine) -> None:
    body = {"model": ECHO, "prompt": "one two", "logprobs": 1}
    whole = post(echo, "/v1/completions", **body)["choices"][0]["logprobs"]
    assert whole == {
        "tokens": ["one ", "two"],
        "token_logprobs": [0.0, 0.0],
        "top_logprobs": [{"one ": 0.0}, {"two": 0.0}],
        "text_offset": [0, 4],
    }
    with echo.stream("/v1/completions", body) as stream:
        choices = [value["choices"][0] for value in stream if value != "[DONE]"]
    offsets = [each["logprobs"]["text_offset"] for each in choices if each["logprobs"]]
    assert offsets == [[0], [4]]


def test_a_forbidden_token_passes_all_frames(echo: RunningEngine) -> None:
    body = b'{"model": "echo", "prompt": "x", "logit_bias": {"7": -Infinity}}'
    assert echo.http.post("/v1/completions", content=body).status_code == 200


# Answers that have to be whole

ANY_OBJECT = {"response_format": {"type": "json_object"}}


def with_schema(schema: Any) -> dict[str, Any]:
    named = {"name": "answer", "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


@pytest.mark.parametrize(
    "how", [ANY_OBJECT, {"grammar": 'root ::= "a"'}], ids=["schema", "grammar"]
)
def test_an_answer_that_is_cut_is_an_error(echo: RunningEngine, how: Any) -> None:
    said = '{"a": 1}'
    assert echo.chat(said, **how).json()["choices"][0]["message"]["content"] == said
    body = {"model": ECHO, "prompt": said, "max_tokens": 1, **how}
    error = refused(echo, "/v1/completions", 400, **body)
    assert error["type"] == "AnswerCut" and "max_tokens" in error["hint"]
    assert error["data"]["text"] == '{"a": '
    with echo.stream("/v1/completions", body) as stream:
        *pieces, last = stream
    assert "".join(each["choices"][0]["text"] for each in pieces) == '{"a": '
    assert last["error"]["type"] == "AnswerCut"


def test_a_stop_string_inside_a_value_cuts_it_too(echo: RunningEngine) -> None:
    error = refused(
        echo, "/v1/completions", 400, model=ECHO, prompt='{"a": 1}', stop=": ", **ANY_OBJECT
    )
    assert error["type"] == "AnswerCut" and error["data"]["text"] == '{"a"'


def test_an_answer_is_held_against_its_schema(echo: RunningEngine) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/n"}},
        "$defs": {"n": {"type": "integer"}},
    }
    assert echo.chat('{"a": 1}', **with_schema(schema)).status_code == 200
    body = {"model": ECHO, "prompt": '{"a": "x"}', **with_schema(schema)}
    error = refused(echo, "/v1/completions", 400, **body)
    assert error["type"] == "RequestError" and "(at a)" in error["message"]
    assert error["data"]["text"] == '{"a": "x"}'


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "objekt"}, "objekt"),
        ({"required": "a"}, "at required"),
        ({"$ref": "http://127.0.0.1:9/x"}, "only references within it"),
        ({"items": {"$ref": "other.json"}}, "only references within it"),
        ({"const": float("inf")}, "no number of JSON"),
        (deep(100), "64 levels"),
        (deep(400), "64 levels"),
    ],
    ids=["type", "required", "far", "file", "inf", "deep", "deeper"],
)
def test_a_bad_schema_is_refused_before_anything_loads(
    echo: RunningEngine, schema: Any, says: str
) -> None:
    options = {"llmspell": {"options": {"context_size": 999}}}
    body = {"model": SLOW, "prompt": "x", **with_schema(schema), **options}
    response = echo.http.post("/v1/completions", content=json.dumps(body))
    assert response.status_code == 400, response.text
    error = response.json()["error"]["llmspell"]
    assert error["type"] == "RequestError" and says in error["message"]
    assert not [each for each in echo.status()["workers"] if each["model"] == SLOW]


def test_a_costly_pattern_does_not_hold_up_the_engine(echo: RunningEngine) -> None:
    schema = {"type": "string", "pattern": "^(a+)+$"}
    said = '"' + "a" * 40 + '!"'
    assert echo.chat(said, **with_schema(schema)).status_code == 200


# Devices


def on(device: str) -> dict[str, Any]:
    return {"llmspell": {"progress": True, "options": {"device": device}}}


def test_a_device_of_another_platform_is_told(echo: RunningEngine) -> None:
    other = "cuda" if sys.platform == "darwin" else "metal"
    with echo.stream("/v1/completions", {"model": ECHO, "prompt": "x"} | on(other)) as stream:
        *values, _ = stream
    notes = [value["llmspell"].get("progress", {}).get("note") for value in values]
    (note,) = [each for each in notes if each]
    assert f"{other} was asked for, and the CPU computes" in note
    metadata = values[-1]["llmspell"]["metadata"]
    assert metadata["device"] == "cpu" and metadata["device_warning"] == note


def test_a_device_that_is_not_there_is_an_error(echo: RunningEngine) -> None:
    own = "metal" if sys.platform == "darwin" else "cuda"
    error = refused(echo, "/v1/completions", 501, model=ECHO, prompt="x", **on(own))
    assert error["type"] == "DeviceUnavailable" and 'device("cpu")' in error["hint"]
    assert not [each for each in echo.status()["workers"] if each["state"] != "ready"]


# Loading and unloading


def slow(number: int, **rest: Any) -> dict[str, Any]:
    return {"model": SLOW, "llmspell": {"options": {"context_size": number}, **rest}}


def test_a_load_tells_how_far_it_is(echo: RunningEngine) -> None:
    with echo.stream("/api/load", slow(1)) as stream:
        first = next(stream)["llmspell"]["progress"]
        (job,) = echo.jobs()
        assert (job["kind"], job["phase"]) == ("load", "loading")
        *values, last, end = stream
    assert first["phase"] == "loading" and first["total"] == 1000 and end == "[DONE]"
    done = [value["llmspell"]["progress"]["done"] for value in values]
    assert done == sorted(done) and len(done) > 50 and done[-1] == 1000
    metadata = last["llmspell"]["metadata"]
    assert last["ready"] and metadata["model"] == SLOW and metadata["device_reason"]
    assert metadata["load_ms"] > 2000
    again = post(echo, "/api/load", **slow(1), stream=False)
    assert again["llmspell"]["metadata"]["load_ms"] == 0


def test_a_load_of_what_is_not_there(echo: RunningEngine) -> None:
    assert refused(echo, "/api/load", 404, model="smolm2:135m")["type"] == "ModelNotFound"


def test_unloading_ends_all_processes_of_a_model(echo: RunningEngine) -> None:
    for size in (2001, 2002):
        options = {"llmspell": {"options": {"context_size": size}}}
        assert echo.chat("hello", **options).status_code == 200
    workers = [each["pid"] for each in echo.status()["workers"] if each["model"] == ECHO]
    family = [each for each in echo.process.children() if each.pid in workers]
    assert len(family) >= 2
    assert post(echo, "/api/unload", model=ECHO) == {"unloaded": len(family)}
    assert gone_within(family, SOON)
    assert not [each for each in echo.status()["workers"] if each["model"] == ECHO]
    assert post(echo, "/api/unload", model=ECHO) == {"unloaded": 0}
    assert echo.chat("hello").status_code == 200
    assert refused(echo, "/api/unload", 404, model="smolm2")["type"] == "ModelNotFound"


def test_a_model_that_works_is_unloaded_by_force_only(echo: RunningEngine) -> None:
    with echo.answering() as stream:
        worker = echo.worker(SMOLLM2)
        assert worker is not None
        error = refused(echo, "/api/unload", 503, model=SMOLLM2)
        assert error["type"] == "EngineBusy" and error["data"]["requests"] == 1
        assert f"%model_unload {SMOLLM2} --force" in error["hint"]
        next(stream)
        assert post(echo, "/api/unload", model=SMOLLM2, force=True)["unloaded"] >= 1
        *_, last = stream
    assert last["error"]["type"] == "Interrupted"
    assert last["error"]["message"] == f"{SMOLLM2} was unloaded."
    assert gone_within([worker], SOON)
    assert echo.complete(**ENDLESS | {"max_tokens": 1}).status_code == 200


def test_a_job_can_be_ended_by_anybody(echo: RunningEngine) -> None:
    with echo.answering() as stream:
        (job,) = echo.jobs()
        assert job["kind"] == "answer"
        assert post(echo, f"/api/jobs/{job['id']}/cancel") == {"cancelled": True}
        *_, last = stream
    assert last["error"]["type"] == "Interrupted"
    wait_for(lambda: not echo.jobs(), SOON)
    assert post(echo, f"/api/jobs/{job['id']}/cancel") == {"cancelled": False}
    assert echo.complete(**ENDLESS | {"max_tokens": 1}).status_code == 200
