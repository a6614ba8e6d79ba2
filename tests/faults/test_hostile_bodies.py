"""HTTP bodies that no client of ours would send (E10)."""

from __future__ import annotations

import json
import pickle
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from llmspell_jupyter.engine.api import answers, requests
from llmspell_jupyter.types import LoadOptions, Lookup
from tests.support.engines import ECHO, PATIENCE, RunningEngine, engine

NOWHERE = "no-such-model"

NUMBERS = (-1, 0, 2**31, 2**64, 10**400, -0.5, 1e308, float("nan"), float("inf"), -float("inf"))
EVIL = [
    *(None, True, *NUMBERS),
    *("", "x", "7", "\ud800", "\x00", "../../etc/passwd", "{{ 7*7 }}", "x" * 100_000),
    *([], [None], [[[]]], ["x"], {}, {"a": 1}, {"type": "json_schema"}),
]

SOUND: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "the sea"}]},
    "/v1/completions": {"prompt": "the sea"},
    "/v1/embeddings": {"input": "the sea"},
    "/v1/tokenize": {"prompt": "the sea"},
    "/api/load": {},
    "/api/unload": {},
}

KINDS = {path: endpoint.body for path, endpoint in answers.ENDPOINTS.items()} | {
    "/api/unload": requests.UNLOAD
}


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEngine]:
    with engine(LLMSPELL_ENGINE_TRANSPORT="tcp") as made:
        assert made.chat("hello").status_code == 200
        yield made
        # Whatever came, the next client is served.
        assert made.process.is_running() and made.jobs() == []
        assert made.chat("hello").json()["choices"][0]["message"]["content"] == "hello"


def post(running: RunningEngine, path: str, body: bytes | dict[str, Any]) -> httpx.Response:
    # As it stands: httpx refuses to write some of it.
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return running.http.post(path, content=content, headers={"Content-Type": "application/json"})


def refusal(response: httpx.Response, case: object) -> dict[str, Any]:
    assert 400 <= response.status_code < 500, (case, response.status_code, response.text[:300])
    error: dict[str, Any] = response.json()["error"]
    assert error["message"] and len(error["message"]) < 2_000, case
    return error


def test_every_endpoint_is_asked() -> None:
    assert SOUND.keys() == KINDS.keys()


@pytest.mark.parametrize("path", SOUND)
def test_a_field_is_accepted_or_named(running: RunningEngine, path: str) -> None:
    fields = KINDS[path].model_fields
    assert "model" in fields and "llmspell" in fields
    assert running.chat("hello").status_code == 200
    worker = running.worker(ECHO)
    refused = 0
    for field in (*fields, "n_discard"):
        for value in EVIL:
            body = {"model": ECHO, **SOUND[path], field: value}
            response = post(running, path, body)
            case = (path, field, repr(value)[:60])
            if response.status_code == 200:
                continue
            refused += 1
            error = refusal(response, case)
            named = field in error["message"] or (error.get("param") or "").startswith(field)
            # Fields that depend on each other name one of them.
            assert named or response.status_code == 404 or "prompt" in error["message"], (
                case,
                error,
            )
    assert refused > len(fields) * len(EVIL) / 4
    # Nothing that was accepted has ended the model's process, unless that was asked for.
    assert running.worker(ECHO) == worker or path == "/api/unload"


@pytest.mark.parametrize(
    ("table", "cls"), [("options", LoadOptions), ("lookup", Lookup)], ids=["options", "lookup"]
)
def test_an_option_is_accepted_or_named(running: RunningEngine, table: str, cls: Any) -> None:
    # With a model that is not there: what is accepted here would start a worker each.
    for field in (*cls.__dataclass_fields__, "n_discard"):
        for value in EVIL:
            ours = {table: {field: value}}
            response = post(running, "/api/load", {"model": NOWHERE, "llmspell": ours})
            error = refusal(response, (table, field, repr(value)[:60]))
            if response.status_code == 400:
                assert f"{table}.{field}" in error["message"], (field, value, error)
            else:
                assert error["type"] == "ModelNotFound"


BODIES = {
    "empty": b"",
    "bad UTF-8": b'{"model": "\xff\xfe"}',
    "UTF-16": '{"model": "echo"}'.encode("utf-16-le") + b"\xd8",
    "deep": b'{"model": ' + b"[" * 200_000,
    "deep and whole": b'{"model": "echo", "prompt": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a number of 10,000 digits": b'{"model": "echo", "max_tokens": ' + b"9" * 10_000 + b"}",
    "pickle": pickle.dumps({"model": "echo"}),
    "old pickle": pickle.dumps({"model": "echo"}, protocol=0),
    "NaN": b"NaN",
    "a list": b"[]",
    "a text": b'"model"',
    "null": b"null",
    "cut": b'{"model": "echo", "prompt": "th',
    "no JSON": b"model=echo&prompt=x",
    "too large": b'{"model": "' + b"x" * 17_000_000 + b'"}',
}


@pytest.mark.parametrize("path", ["/v1/completions", "/api/unload"])
@pytest.mark.parametrize("body", BODIES)
def test_what_is_no_request_is_refused(running: RunningEngine, path: str, body: str) -> None:
    try:
        error = refusal(post(running, path, BODIES[body]), body)
    except (httpx.WriteError, httpx.ReadError):
        # It need not read 17 MB to its end.
        assert body == "too large"
        return
    assert error["type"] == "RequestError"


def exchange(running: RunningEngine, head: str, body: bytes) -> bytes:
    """What comes back before the connection is closed, from either side."""
    host, _, port = running.connection.address.rpartition(":")
    request = (
        "POST /v1/completions HTTP/1.1\r\n"
        f"Host: {running.connection.address}\r\n"
        f"Authorization: Bearer {running.connection.token}\r\n{head}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(request.encode() + body)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while block := client.recv(65536):
            answer += block
        return answer


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Content-Length: 1000000000000", b'{"model": "echo"}'),
        ("Content-Length: 99999999999999999999999999", b"{}"),
        ("Content-Length: -1", b"{}"),
        ("Content-Length: many", b"{}"),
        ("Content-Length: 2\r\nContent-Length: 200", b"{}"),
        ("Transfer-Encoding: chunked", b"FFFFFFFFFFFFFFFF\r\n{}"),
        ("Transfer-Encoding: chunked", b"-2\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"zz\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 2", b"{}"),
        ("Content-Length: 2\r\n" + "X-A: " + "a" * 100_000, b"{}"),
    ],
    ids=lambda each: repr(each)[:40],
)
def test_what_is_no_length_gets_no_answer_of_a_model(
    running: RunningEngine, head: str, body: bytes
) -> None:
    before = running.process.memory_info().rss
    status = exchange(running, head, body).partition(b"\r\n")[0]
    assert status == b"" or b" 4" in status, status
    # Nothing is set aside for what is only claimed.
    assert running.process.memory_info().rss - before < 50_000_000
    assert running.jobs() == []
