import json
import re
import time

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmspell_jupyter.engine.backends._llama.digits import integer_between
from llmspell_jupyter.engine.backends._llama.json_schema import to_gbnf
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import Sampling
from tests.support.llama import ask, run, text

TREE = {
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {
                "v": {"type": "integer", "exclusiveMinimum": 5},
                "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2},
            },
            "required": ["v"],
        }
    },
    "$ref": "#/$defs/tree",
}
NAMED = {
    "type": "object",
    "properties": {"ab": {"type": "boolean"}, "a": {"type": "null"}, "é": {"enum": ['x"\\\n', 3]}},
    "additionalProperties": {"type": "integer", "maximum": 9, "minimum": 0},
    "required": ["ab"],
}
SCHEMAS = [
    {},
    {"type": "integer", "minimum": -17, "maximum": 2345},
    {"type": "number", "minimum": 0},
    {"type": ["string", "null"], "minLength": 3, "maxLength": 4},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {"type": "array", "prefixItems": [{"type": "boolean"}, {"const": 1}], "items": False},
    {
        "type": "array",
        "prefixItems": [{"type": "boolean"}],
        "items": {"type": "null"},
        "minItems": 2,
        "maxItems": 3,
    },
    {
        "anyOf": [
            {"type": "string", "format": each} for each in ("date", "time", "date-time", "uuid")
        ]
    },
    {
        "allOf": [
            {"properties": {"a": {"type": "integer", "maximum": -3}}, "required": ["a"]},
            {"properties": {"b": {"enum": [[1, {}], None]}}, "required": ["b"]},
        ]
    },
    {
        "type": "object",
        "properties": {"k": {"enum": [1]}, "z": {"const": {"a": [1, 2]}}},
        "oneOf": [{"required": ["k"]}, {"required": ["z"]}, {"required": ["q"]}],
        "additionalProperties": False,
        "maxProperties": 1,
    },
    {"type": "object", "required": ["q"], "additionalProperties": {"type": "null"}},
    NAMED,
    TREE,
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
@pytest.mark.parametrize("seed", range(4))
def test_answers_are_valid(tiny, schema, seed):
    """Weights without meaning draw from all that the grammar allows."""
    how = Sampling(temperature=1.0, top_p=1.0, top_k=0, repeat_penalty=1.0, seed=seed)
    events = run(tiny, ask("a", json_schema=schema, max_tokens=240, sampling=how))
    if events[-1].reason == "length":
        assert len(text(events)) > 100
        return
    value = json.loads(text(events))
    if "maxProperties" not in schema or len(value) == 1:
        jsonschema.validate(value, schema)
    assert text(events) == text(events).strip()


def test_a_key_that_the_schema_names_comes_once(tiny):
    """The weights are told to close each key as soon as they may, and to go on with another."""
    schema = {
        "type": "object",
        "properties": {"": {"type": "null"}, "a": {"type": "null"}},
        "additionalProperties": {"enum": [1]},
    }
    liked = {'"': 100.0, "a": 50.0, ",": 30.0}
    bias = tuple((3 + ord(letter), value) for letter, value in liked.items())
    how = Sampling(temperature=0, repeat_penalty=1.0, logit_bias=bias)
    written = text(run(tiny, ask("a", json_schema=schema, max_tokens=60, sampling=how)))
    keys = re.findall(r'"([^"]*)":', written)
    assert keys[:2] == ["", "a"] and len(keys) > 3
    assert not {"", "a"} & set(keys[2:])


def test_a_real_answer(smollm2):
    schema = {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "blue", "green"]},
            "depth": {"type": "integer", "minimum": 1, "maximum": 99},
        },
        "required": ["colour", "depth"],
    }
    events = run(smollm2, ask("Describe the sea as JSON: ", json_schema=schema))
    assert events[-1].reason == "stop"
    jsonschema.validate(json.loads(text(events)), schema)


@given(st.integers(-(10**6), 10**6), st.integers(0, 3000), st.integers(-(10**6), 10**6))
@settings(max_examples=300, deadline=None)
def test_ranges_of_integers(low, size, other):
    """The expression, read as a regular expression, fits the numbers of its range and no other."""
    pattern = integer_between(low, low + size).replace('"', "").replace(" ", "")
    for number in (low, low + size, low - 1, low + size + 1, other, -other, 0, low + size // 2):
        fits = re.fullmatch(pattern, str(number)) is not None
        assert fits == (low <= number <= low + size), (number, pattern)


@pytest.mark.parametrize(
    ("low", "high"), [(None, None), (0, None), (95, None), (None, -3), (None, 7), (-5, None)]
)
def test_ranges_with_an_open_end(low, high):
    pattern = integer_between(low, high).replace('"', "").replace(" ", "")
    for number in [*range(-120, 121), 999, 1000, -1000, 10**14, -(10**14)]:
        fits = (low is None or number >= low) and (high is None or number <= high)
        assert (re.fullmatch(pattern, str(number)) is not None) == fits, number


@pytest.mark.parametrize(
    ("schema", "cause"),
    [
        ({"type": "text"}, "'text' is no type of JSON, at #"),
        ({"type": []}, "nothing fits #"),
        ({"properties": []}, "properties is no object at #"),
        ({"properties": {"a": 1}}, "#/properties/a is no schema"),
        ({"enum": []}, "nothing fits #"),
        ({"enum": 3}, "enum is no list at #"),
        ({"required": [1]}, "required holds what is no name"),
        ({"required": ["a"], "additionalProperties": False}, "nothing fits #"),
        ({"$ref": "http://example.org/x"}, "no reference inside of the schema"),
        ({"$ref": "#/$defs/x"}, "refers to nothing"),
        ({"$ref": "#"}, "begins with itself"),
        ({"allOf": [{"$ref": "#"}, {"type": "object"}]}, "begins with itself"),
        ({"allOf": [{"type": "string"}, {"type": "object"}]}, "nothing fits"),
        ({"anyOf": [False, {"enum": []}]}, "nothing fits"),
        ({"minLength": 3, "maxLength": 2}, "nothing fits #"),
        ({"minItems": -1}, "no count at #"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "nothing fits #"),
        ({"prefixItems": [True], "items": False, "minItems": 2}, "nothing fits #"),
    ],
    ids=str,
)
def test_a_schema_that_cannot_be_followed(schema, cause):
    with pytest.raises(RequestError, match=cause) as caught:
        to_gbnf(schema)
    assert caught.value.data["field"] == "json_schema"


def nested(levels, inner=None):
    schema = inner or {}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        nested(2000),
        nested(60),
        {"enum": [f"word {number}" for number in range(5000)]},
        {"properties": {f"p{number}": {} for number in range(3000)}},
        {"properties": {f"p{number}": {"maxLength": 100 + number} for number in range(100)}},
        {"description": "x" * 200_000},
        {
            "$defs": {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(200)}
            | {"d200": {}},
            "$ref": "#/$defs/d0",
        },
    ],
    ids=range(7),
)
def test_a_hostile_schema_ends_soon(schema):
    began = time.process_time()
    try:
        to_gbnf(schema)
    except RequestError as error:
        assert "cannot be followed" in error.message
    assert time.process_time() - began < 2


def test_large_counts_are_left_to_the_check_of_the_whole():
    grammar = to_gbnf({"type": "string", "minLength": 2, "maxLength": 100_000})
    assert "char{2,}" in grammar
