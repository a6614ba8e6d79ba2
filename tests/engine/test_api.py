"""What a request may say, checked on the data, and what answers look like, over the socket."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspell_jupyter.engine.api import answers, requests
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import LoadOptions, Message, Phase, Progress, Sampling
from tests.support.engines import ECHO, SMOLLM2, RunningEngine, engine, wait_for

CHAT = {"model": ECHO, "messages": [{"role": "user", "content": "one two  three\n"}]}
TEXT = {"model": ECHO, "prompt": "one two  three\n"}
SAID = "one two  three\n"


@pytest.fixture(scope="module")
def echo() -> Iterator[RunningEngine]:
    with engine() as running:
        yield running


# The request as data


def test_every_field_arrives() -> None:
    given = CHAT | {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 7,
        "min_p": 0.1,
        "repeat_penalty": 1.2,
        "repeat_last_n": -1,
        "seed": 2**32 - 2,
        "max_tokens": 9,
        "stop": ["a", "b"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "llmspell": {
            "progress": True,
            "options": {"context_size": 0, "batch_size": 1, "cpu_threads": 3},
        },
        "n": 1,
        "user": "somebody",
    }
    body = requests.read(given, requests.CHAT)
    assert (body.stream, body.usage, body.progress) == (True, True, True)
    request = body.request
    assert request.messages == (Message("user", SAID),) and request.prompt is None
    assert (request.max_tokens, request.stop) == (9, ("a", "b"))
    assert request.sampling == Sampling(
        temperature=0,
        top_p=0.5,
        top_k=7,
        min_p=0.1,
        repeat_penalty=1.2,
        repeat_last_n=-1,
        seed=2**32 - 2,
    )
    assert request.options == LoadOptions(0, 1, 3)


def test_what_is_left_out_has_the_usual_value() -> None:
    body = requests.read(TEXT, requests.TEXT)
    assert (body.stream, body.usage, body.progress) == (False, False, False)
    assert body.request.prompt == SAID and body.request.messages is None
    assert body.request.sampling == Sampling() and body.request.options == LoadOptions()
    assert body.request.max_tokens == 512


def test_openai_spellings() -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    given = {"model": ECHO, "messages": messages, "max_completion_tokens": 3, "stop": "x"}
    request = requests.read(given, requests.CHAT).request
    assert request.messages == (Message("system", "Be brief."), Message("user", "a b"))
    assert (request.max_tokens, request.stop) == (3, ("x",))


WRONG = [
    ({"temperatur": 1}, "temperatur", "not supported"),
    ({"logit_bias": {"a": 1}}, "logit_bias.a", "pattern"),
    ({"logit_bias": {"1": "x"}}, "logit_bias.1", "number"),
    ({"logit_bias": {"1": float("nan")}}, "logit_bias.1", "less than inf"),
    ({"mirostat": 3}, "mirostat", "2"),
    ({"dry_sequence_breakers": [1]}, "dry_sequence_breakers.0", "string"),
    ({"top_logprobs": 2}, "top_logprobs", "logprobs = true"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "20"),
    ({"response_format": {"type": "yaml"}}, "response_format.type", "json_object"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "goes with"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "response_format.json_schema.schema",
        "required",
    ),
    ({"llmspell": {"options": {"device": "tpu"}}}, "llmspell.options.device", "cuda"),
    ({"llmspell": {"lookup": {"folders": 1}}}, "llmspell.lookup.folders", "list"),
    ({"llmspell": {"progres": True}}, "llmspell.progres", "not supported"),
    ({"llmspell": {"options": {"gpu": 1}}}, "llmspell.options.gpu", "not supported"),
    ({"model": None}, "model", "string"),
    ({"temperature": "0.5"}, "temperature", "number"),
    ({"temperature": True}, "temperature", "number"),
    ({"temperature": -0.1}, "temperature", "0"),
    ({"temperature": 10.1}, "temperature", "10"),
    ({"temperature": float("nan")}, "temperature", "10"),
    ({"temperature": float("inf")}, "temperature", "10"),
    ({"top_p": -0.1}, "top_p", "0"),
    ({"top_p": 1.1}, "top_p", "1"),
    ({"top_k": -1}, "top_k", "0"),
    ({"min_p": 2}, "min_p", "1"),
    ({"repeat_penalty": 0}, "repeat_penalty", "0.1"),
    ({"repeat_last_n": -2}, "repeat_last_n", "-1"),
    ({"seed": -1}, "seed", "0"),
    ({"seed": 2**32}, "seed", "4294967294"),
    ({"max_tokens": 0}, "max_tokens", "1"),
    ({"max_tokens": 1.5}, "max_tokens", "integer"),
    ({"max_tokens": 2**31}, "max_tokens", "2147483647"),
    ({"n": 2}, "n", "1"),
    ({"stream": "yes"}, "stream", "boolean"),
    ({"stop": ""}, "stop", "at least 1"),
    ({"stop": ["a", ""]}, "stop.1", "at least 1"),
    ({"stop": 3}, "stop", "string"),
    ({"messages": []}, "messages", "at least 1"),
    ({"messages": "hello"}, "messages", "list"),
    ({"messages": [{"role": "user"}]}, "messages.0.content", "required"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "user"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content", "string"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
        "messages.0.content.0.type",
        "text",
    ),
    ({"llmspell": {"options": {"context_size": -1}}}, "llmspell.options.context_size", "0"),
    ({"llmspell": {"options": {"batch_size": 0}}}, "llmspell.options.batch_size", "1"),
]


@pytest.mark.parametrize(("change", "field", "says"), WRONG, ids=lambda each: str(each)[:40])
def test_a_wrong_field_is_named(change: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(RequestError) as caught:
        requests.read(CHAT | change, requests.CHAT)
    assert caught.value.data == {"param": field}
    assert caught.value.message.startswith(f"{field}: ") and says in caught.value.message


@pytest.mark.parametrize("value", [None, 3, "text", [], [CHAT]])
def test_a_body_that_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(RequestError, match="not a JSON object"):
        requests.read(value, requests.CHAT)


@pytest.mark.parametrize(("given", "kind"), [(CHAT, requests.TEXT), (TEXT, requests.CHAT)])
def test_each_endpoint_takes_its_own_kind(given: Any, kind: Any) -> None:
    with pytest.raises(RequestError, match=r"messages|prompt"):
        requests.read(given, kind)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*requests.CHAT.model_fields, "other"]), JSON))
def test_anything_else_is_a_request_or_a_request_error(value: dict[str, Any]) -> None:
    try:
        requests.read(CHAT | value, requests.CHAT)
    except RequestError as error:
        assert str(error).isprintable() or "\n" not in error.message


@pytest.mark.parametrize(
    ("field", "off", "on"),
    [
        ("n", 1, 2),
        ("presence_penalty", None, "much"),
        ("logprobs", False, "yes"),
        ("response_format", {"type": "text"}, {"type": "xml"}),
    ],
)
def test_what_can_be_left_out_can_be_switched_off(field: str, off: Any, on: Any) -> None:
    assert requests.read(CHAT | {field: off}, requests.CHAT).request
    with pytest.raises(RequestError, match=field):
        requests.read(CHAT | {field: on}, requests.CHAT)


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_for_those_who_ask(progress: bool) -> None:
    body = requests.read(CHAT | {"llmspell": {"progress": progress}}, requests.CHAT)
    values = list(answers.ChatForm(body).values(Progress(Phase.QUEUED, 1)))
    assert len(values) == progress


# Over the socket


@pytest.mark.parametrize(
    ("body", "path"), [(CHAT, "/v1/chat/completions"), (TEXT, "/v1/completions")]
)
def test_whole_and_streamed_text_are_equal(echo: RunningEngine, body: Any, path: str) -> None:
    chat = "messages" in body
    whole = echo.http.post(path, json=body).json()
    choice = whole["choices"][0]
    text = choice["message"]["content"] if chat else choice["text"]
    with echo.stream(path, body) as stream:
        *values, end = stream
    assert end == "[DONE]"
    choices = [value["choices"][0] for value in values]
    pieces = [each["delta"].get("content", "") if chat else each["text"] for each in choices]
    assert "".join(pieces) == text == SAID
    assert len([piece for piece in pieces if piece]) == 3
    assert [each["finish_reason"] for each in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert choice["finish_reason"] == "stop"


def test_a_whole_chat_answer(echo: RunningEngine) -> None:
    before = int(time.time())
    response = echo.http.post("/v1/chat/completions", json=CHAT)
    assert response.status_code == 200
    answer = response.json()
    assert answer.pop("id").startswith("chatcmpl-")
    assert before <= answer.pop("created") <= time.time()
    assert answer.pop("llmspell")["metadata"]["engine_backend"] == "echo"
    assert answer == {
        "object": "chat.completion",
        "model": ECHO,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": SAID, "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 3,
            "total_tokens": 6,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def test_a_whole_text_answer(echo: RunningEngine) -> None:
    answer = echo.http.post("/v1/completions", json=TEXT | {"max_tokens": 2}).json()
    assert answer["id"].startswith("cmpl-") and answer["object"] == "text_completion"
    assert answer["choices"] == [
        {"index": 0, "text": "one two  ", "finish_reason": "length", "logprobs": None}
    ]


@pytest.mark.parametrize("usage", [True, False])
def test_a_stream_without_our_extension_holds_nothing_but_chunks(
    echo: RunningEngine, usage: bool
) -> None:
    wanted = {"stream_options": {"include_usage": True}} if usage else {}
    # Loads a worker of its own, so that there would be progress to report.
    options = {"options": {"context_size": 1000 + usage}}
    with echo.stream("/v1/chat/completions", CHAT | wanted | {"llmspell": options}) as stream:
        *values, end = stream
    assert end == "[DONE]"
    assert values[0]["choices"][0]["delta"] == {"role": "assistant", "content": "one "}
    assert len({value["id"] for value in values}) == 1
    if usage:
        last = values.pop()
        assert last["choices"] == []
        assert last["usage"]["total_tokens"] == 6
    for value in values:
        assert value["object"] == "chat.completion.chunk"
        assert value["model"] == ECHO and isinstance(value["created"], int)
        assert "usage" not in value
        assert [each["index"] for each in value["choices"]] == [0]
    assert values[-1]["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
    }


def test_a_stream_with_our_extension_tells_where_it_stands(echo: RunningEngine) -> None:
    extension = {"progress": True, "options": {"context_size": 1002}}
    with echo.stream("/v1/chat/completions", CHAT | {"llmspell": extension}) as stream:
        *values, _ = stream
    extras = [value["llmspell"] for value in values]
    phases = [extra["progress"]["phase"] for extra in extras if "progress" in extra]
    assert phases == ["loading", "reading the prompt"]
    assert [extra["tokens"] for extra in extras if "tokens" in extra] == [1, 2, 3]
    metadata = extras[-1]["metadata"]
    assert metadata["finish_reason"] == "stop" and metadata["completion_tokens"] == 3
    assert metadata["load_ms"] > 0 and metadata["time_to_first_token_ms"] > 0


def test_stop_strings_and_max_tokens(echo: RunningEngine) -> None:
    stopped = echo.chat("one two three", stop="tw").json()["choices"][0]
    assert (stopped["message"]["content"], stopped["finish_reason"]) == ("one ", "stop")
    cut = echo.chat("one two three", max_completion_tokens=1).json()["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == ("one ", "length")


def test_models(echo: RunningEngine) -> None:
    answer = echo.http.get("/v1/models").json()
    assert answer["object"] == "list"
    assert SMOLLM2 in [each["id"] for each in answer["data"]]
    for each in answer["data"]:
        assert set(each) == {"id", "object", "created", "owned_by"} and each["object"] == "model"
    ours = echo.http.get("/api/models").json()["models"]
    assert [each["id"] for each in ours] == [each["id"] for each in answer["data"]]


# Refusals


def refusal(response: Any, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "llmspell"}
    assert error["type"] == error["llmspell"]["type"] == kind
    return error


@pytest.mark.parametrize("stream", [True, False])
def test_an_unknown_model(echo: RunningEngine, stream: bool) -> None:
    error = refusal(echo.chat("hi", "smolm2:135m", stream=stream), 404, "ModelNotFound")
    assert "'smolm2:135m' is not on this machine" in error["message"]
    assert SMOLLM2 in error["llmspell"]["hint"]
    assert error["llmspell"]["data"]["nearest"] == [SMOLLM2]


@pytest.mark.parametrize("stream", [True, False])
def test_an_unknown_field(echo: RunningEngine, stream: bool) -> None:
    error = refusal(echo.chat("hi", tempratur=1, stream=stream), 400, "RequestError")
    assert error["param"] == "tempratur" and "tempratur" in error["message"]


def test_a_model_name_that_is_none(echo: RunningEngine) -> None:
    refusal(echo.chat("hi", "../../etc/passwd\n"), 400, "InvalidModelSpec")
    refusal(echo.chat("hi", "smollm2@nowhere"), 400, "InvalidModelSpec")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"model": "echo", "prompt": "hi"} x',
        b'{"model": "\\ud800", "prompt": "hi"}',
        b'{"model": "echo", "prompt": "\\ud800"}',
        b'{"model": "echo", "prompt": "hi", "\\ud800": 1}',
        b'{"model": "echo", "prompt": "hi", "temperature": NaN}',
        b'{"model": "echo", "prompt": "hi", "temperature": 1e999}',
    ],
)
def test_a_body_that_makes_no_sense(echo: RunningEngine, content: bytes) -> None:
    response = echo.http.post("/v1/completions", content=content)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] in ("RequestError", "InvalidModelSpec")


def test_a_body_that_is_too_large(echo: RunningEngine) -> None:
    body = json.dumps(TEXT | {"prompt": "x" * (16 * 1024 * 1024)}).encode()
    error = refusal(echo.http.post("/v1/completions", content=body), 400, "RequestError")
    assert "16 MiB" in error["message"]


def test_a_prompt_that_does_not_fit(echo: RunningEngine) -> None:
    options = {"options": {"context_size": 10}}
    response = echo.complete(model=ECHO, prompt="word " * 12, llmspell=options)
    error = refusal(response, 400, "ContextOverflow")
    assert error["llmspell"]["data"]["over_by"] == 2


def test_a_long_name_is_not_repeated_at_length(echo: RunningEngine) -> None:
    for response in (echo.chat("hi", "x" * 1_000_000), echo.chat("hi", **{"y" * 1_000_000: 1})):
        assert response.status_code == 400
        assert len(response.content) < 2000


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/chat/completions", 405),
        ("GET", "/v1/embeddings", 405),
        ("GET", "/api/unload", 405),
        ("GET", "/api/shutdown", 405),
        ("GET", "/v1/../api/status/..%2f..%2fetc/passwd", 404),
    ],
)
def test_other_routes(echo: RunningEngine, method: str, path: str, status: int) -> None:
    assert echo.http.request(method, path).status_code == status


def test_nothing_of_all_this_stays(echo: RunningEngine) -> None:
    wait_for(lambda: not echo.jobs())
    assert echo.chat("still here").json()["choices"][0]["message"]["content"] == "still here"


def test_a_name_with_a_line_end_stays_one_line() -> None:
    with pytest.raises(RequestError) as caught:
        requests.read(CHAT | {"llmspell": {"a\nb\x1b": None}}, requests.CHAT)
    assert caught.value.message.startswith(r"llmspell.a\nb\x1b: ")
    assert caught.value.data["param"] == r"llmspell.a\nb\x1b"
