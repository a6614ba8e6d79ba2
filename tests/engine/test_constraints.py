"""Hostile schemas: what they cost whoever checks an answer, and everybody else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.engines import ECHO, RunningEngine, engine, gone_within

#: How soon the engine tells its status, whatever it works on, in seconds.
AT_ONCE = 1.0

#: How soon an engine has to end, in seconds.
SOON = 4.0

#: No check of an answer takes longer, in seconds.
LONGEST = 40.0

DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: A pattern that takes Python hours, in which nothing else of its process runs.
PATTERN = {"pattern": "^(a+)+$"}
MISSED = json.dumps("a" * 60 + "b")


PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {f"field{number}": {"type": "integer"} for number in range(8)},
    "required": ["field0"],
}


@pytest.fixture(scope="module")
def echo() -> Iterator[RunningEngine]:
    with engine() as running:
        assert running.chat("loaded").status_code == 200
        yield running


def asked(echo: RunningEngine, schema: Any, answer: str) -> httpx.Response:
    """What the engine says to a model that answers this."""
    named = {"name": "answer", "schema": schema}
    form = {"type": "json_schema", "json_schema": named}
    return echo.chat(answer, response_format=form, max_tokens=4000)


def written(value: Any) -> str:
    """A value as one word, so that it is a single token however long it is."""
    return json.dumps(value, separators=(",", ":"))


def refusal(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 400, response.text[:500]
    error: dict[str, Any] = response.json()["error"]["llmspell"]
    return error


def doubling(levels: int, last: Any) -> dict[str, Any]:
    """A schema that refers to its last part twice as often with each level."""
    parts: dict[str, Any] = {
        f"a{number}": {"allOf": [{"$ref": f"#/$defs/a{number + 1}"}] * 2}
        for number in range(levels)
    }
    return {"$defs": parts | {f"a{levels}": last}, "$ref": "#/$defs/a0"}


def test_others_are_served_while_an_answer_is_checked(echo: RunningEngine) -> None:
    answers: list[httpx.Response] = []
    schema = doubling(40, {"type": "integer"})
    asking = threading.Thread(target=lambda: answers.append(asked(echo, schema, "1")))
    began = time.monotonic()
    asking.start()
    waits = []
    while asking.is_alive() and time.monotonic() - began < LONGEST:
        before = time.monotonic()
        echo.status()
        waits.append(time.monotonic() - before)
    asking.join(LONGEST)
    assert max(waits) < AT_ONCE
    error = refusal(answers[0])
    assert "more than" in error["message"] and "references" in error["hint"]
    assert error["data"]["field"] == "json_schema" and error["data"]["text"] == "1"


def test_the_engine_ends_while_an_answer_is_checked() -> None:
    named = {"name": "answer", "schema": doubling(40, {"type": "integer"})}
    form = {"type": "json_schema", "json_schema": named}
    with engine() as running:
        body = {"model": ECHO, "prompt": "1", "response_format": form}
        with running.stream("/v1/completions", body) as stream:
            assert next(stream)["choices"][0]["text"] == "1"
            running.process.terminate()
            assert gone_within([running.process], SOON)


def test_a_long_list_of_words_counts_as_many(echo: RunningEngine) -> None:
    words = {"enum": [f"word{number}" for number in range(20_000)]}
    schema = {"type": "array", "items": words}
    error = refusal(asked(echo, schema, written(["word19999"] * 2_000)))
    assert "more than" in error["message"]


def test_a_large_answer_of_many_kinds_is_checked(echo: RunningEngine) -> None:
    kinds = [{**PERSON, "properties": {"kind": {"const": number}}} for number in range(19)]
    schema = {"type": "array", "items": {"oneOf": [*kinds, {"$ref": "#/$defs/person"}]}}
    rows = [{f"field{number}": number for number in range(8)} | {"kind": 99}] * 200
    schema["$defs"] = {"person": PERSON}
    assert asked(echo, schema, written(rows)).status_code == 200
    error = refusal(asked(echo, schema, written([*rows, {"field0": "x"}])))
    assert "does not follow" in error["message"] and error["data"]["path"][0] == 200


NAMES: dict[str, Any] = {"patternProperties": {"^(a+)+$": {}}}


@pytest.mark.parametrize(
    "schema",
    [
        PATTERN,
        {"allOf": [{"$schema": DIALECT, **PATTERN}]},
        {"$defs": {"a": {"$schema": DIALECT, **PATTERN}}, "$ref": "#/$defs/a"},
        {"allOf": [{"$schema": DIALECT, "$id": "b", "anyOf": [PATTERN]}]},
        {"propertyNames": PATTERN},
        NAMES,
        {**NAMES, "additionalProperties": False},
        {"unevaluatedProperties": False, "allOf": [NAMES]},
        {**NAMES, "unevaluatedProperties": {"type": "null"}},
        {"$schema": "http://json-schema.org/draft-04/schema#", **NAMES, "additionalProperties": {}},
    ],
    ids=str,
)
def test_a_pattern_is_left_to_the_backend_wherever_it_stands(
    echo: RunningEngine, schema: Any
) -> None:
    began = time.monotonic()
    answer = MISSED if "ropert" not in str(schema) else f"{{{MISSED}: 1}}"
    assert asked(echo, schema, answer).status_code == 200
    assert time.monotonic() - began < LONGEST


def test_names_are_checked_where_no_pattern_allows_them(echo: RunningEngine) -> None:
    for keyword in ("additionalProperties", "unevaluatedProperties"):
        schema = {"properties": {"a": {}}, keyword: False}
        assert asked(echo, schema, '{"a": 1}').status_code == 200
        assert "does not follow" in refusal(asked(echo, schema, '{"b": 1}'))["message"]


@pytest.mark.parametrize("name", ["http://[", 3, [1], {}, None], ids=str)
def test_a_schema_whose_dialect_is_no_name(echo: RunningEngine, name: Any) -> None:
    error = refusal(asked(echo, {"$schema": name}, "1"))
    assert error["type"] == "RequestError" and "$schema" in error["message"]


def test_an_answer_may_have_a_field_that_is_called_as_a_dialect(echo: RunningEngine) -> None:
    schema = {"properties": {"$schema": {"const": 1}, "a": {"$ref": "#/properties"}}}
    assert asked(echo, schema, json.dumps({"$schema": 1, "a": {"b": 1}})).status_code == 200
    assert "does not follow" in refusal(asked(echo, schema, '{"$schema": 2}'))["message"]


@pytest.mark.parametrize("part", [3, [1], {"type": "x"}, {"allOf": 3}, {"required": 3}], ids=str)
def test_a_reference_to_what_is_no_schema(echo: RunningEngine, part: Any) -> None:
    error = refusal(asked(echo, {"$ref": "#/x", "x": part}, "{}"))
    assert error["type"] == "RequestError" and "held against" in error["message"]


@pytest.mark.parametrize("pattern", ["(" * 5000 + ")" * 5000, "a{99999999999999999999}", "["])
def test_a_pattern_is_not_compiled(echo: RunningEngine, pattern: str) -> None:
    assert asked(echo, {"pattern": pattern}, '"a"').status_code == 200


def test_a_long_list_is_soon_known_to_be_distinct(echo: RunningEngine) -> None:
    rows: list[Any] = [{"name": str(number), "of": [number]} for number in range(5000)]
    schema = {"type": "array", "uniqueItems": True}
    began = time.monotonic()
    assert asked(echo, schema, written(rows)).status_code == 200
    assert time.monotonic() - began < LONGEST
    again = [*rows, {"of": [3.0], "name": "3"}]
    error = refusal(asked(echo, schema, written(again)))
    assert "non-unique" in error["message"]
    assert asked(echo, schema, "[1, true, [1], [true], {}, 0, false, null]").status_code == 200


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "string", "pattern": "^a"}, "pattern"),
        (
            {"anyOf": [{"type": "string"}, {"pattern": "a"}], "patternProperties": {"^b": {}}},
            "pattern and patternProperties",
        ),
        ({"anyOf": [{"type": "string"}, {"properties": {"pattern": {"type": "string"}}}]}, ""),
        ({"type": "string"}, ""),
    ],
)
def test_what_is_not_enforced_is_told(echo: RunningEngine, schema: Any, named: str) -> None:
    answer = asked(echo, schema, written("b"))
    assert answer.status_code == 200, answer.text
    told = answer.json()["llmspell"]["metadata"].get("schema_warning", "")
    assert told == (f"the answer is not held to {named} of the JSON schema." if named else "")
