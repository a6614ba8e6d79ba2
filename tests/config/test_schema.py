"""The keys: how many, what each takes, and what a wrong value is told."""

from __future__ import annotations

import math
import tomllib
from typing import Any

import jsonschema
import pytest

from llmspell_jupyter.config import leaves, paths, writing
from llmspell_jupyter.config.leaves import ANY, Leaf
from llmspell_jupyter.config.schema import Configuration
from llmspell_jupyter.errors import ConfigError
from tests.config.conftest import Machine

LEAVES = list(leaves.leaves().values())
NUMBERS = [leaf for leaf in LEAVES if leaf.type in ("whole number", "number")]


def _toml(leaf: Leaf, value: str, machine: Machine) -> str:
    table, _, name = leaf.key.replace(ANY, "candle").rpartition(".")
    return (
        f"# one line\n[{table}]\n{name} = {value}\n"
        if table
        else f"# one\n# two\n{name} = {value}\n"
    )


def test_retrieval_has_58_keys() -> None:
    assert sum(leaf.key.startswith("rag.") for leaf in LEAVES) == 58


def test_every_key_is_described() -> None:
    for leaf in LEAVES:
        assert leaf.meaning.endswith("."), leaf.key
        assert leaf.meaning[0].isupper() or leaf.meaning.startswith("plain"), leaf.key
        assert leaf.allowed
    assert all(
        leaf.unit
        or not leaf.key.endswith(
            ("_seconds", "_secs", "_ms", "_bytes", "_mb", "_kb", "_hours", "_days")
        )
        for leaf in LEAVES
    )


def test_the_default_of_every_key_is_allowed() -> None:
    Configuration.model_validate(
        tomllib.loads(writing.toml(Configuration().model_dump(mode="json")))
    )


@pytest.mark.parametrize("leaf", NUMBERS, ids=lambda leaf: leaf.key)
def test_a_number_has_a_type_and_a_range(machine: Machine, leaf: Leaf) -> None:
    whole = leaf.type == "whole number"
    wrong = [
        '"8"',
        "-2",
        "nan",
        "inf",
        "-inf",
        str(10**30),
        "-" + "9" * 60,
        "true",
        "[1]",
        "{}",
        "1979-05-27",
        "1e300",
    ]
    if whole:
        wrong += ["1.5", "8.0"]
    key = leaf.key.replace(ANY, "candle")
    for value in wrong:
        path = machine.file(_toml(leaf, value, machine))
        with pytest.raises(ConfigError) as error:
            machine.load(config_file=path)
        text = str(error.value)
        assert len(text.splitlines()) == 1
        assert text.startswith(f"{path}:3: {key} is "), text
        assert text.endswith(f"it can be {leaf.allowed}."), text
        assert leaf.unit in text
        assert " to " in text
    low, high = _bounds(leaf)
    for value in {low, high}:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        text = _toml(leaf, str(value), machine)
        if key == "rag.chunking.chunk_size" and value == 1:
            text += "overlap = 0\n"
        if key == "rag.chunking.overlap":
            text += "chunk_size = 1_000_000\n" if value == 0 else ""
            if value:
                continue
        if key == "rag.vector_storage.hnsw.ef_construction":
            text += "m = 2\n"
        loaded = machine.load(config_file=machine.file(text))
        assert math.isclose(loaded.explain(key).value, value)


def _bounds(leaf: Leaf) -> tuple[float, float]:
    words = leaf.allowed.replace("a whole number", "").replace("a number", "").split()
    low, high = words[1], words[3]
    number: Any = int if leaf.type == "whole number" else float
    return (0.001 if words[0] == "above" else number(low)), number(high)


@pytest.mark.parametrize(
    "leaf", [leaf for leaf in LEAVES if leaf not in NUMBERS], ids=lambda leaf: leaf.key
)
def test_other_values_have_a_type(machine: Machine, leaf: Leaf) -> None:
    wrong = ["5", "2.5", "nan"]
    if not leaf.type.startswith("table"):
        wrong.append('{ x = "y" }')
    if leaf.type != "true or false":
        wrong.append("true")
    else:
        wrong.append('"true"')
    if leaf.type.startswith("list"):
        wrong += ['"a"', "[1]", '["a", []]']
    if leaf.type.startswith("one of"):
        wrong += ['"no such word"', '""']
    if leaf.type == "text":
        wrong.append('"' + "x" * 5000 + '"')
    for value in wrong:
        path = machine.file(_toml(leaf, value, machine))
        with pytest.raises(ConfigError) as error:
            machine.load(config_file=path)
        text = str(error.value)
        assert len(text.splitlines()) == 1
        assert text.startswith(f"{path}:3: {leaf.key.replace(ANY, 'candle')} is "), text
        assert len(text) < len(str(path)) + 350


@pytest.mark.parametrize(
    "text, says",
    [
        ("[rag.embedding]\nbatch_sise = 8", ":2: rag.embedding.batch_sise is not a known key; did you mean rag.embedding.batch_size?"),
        ("[rag]\nbatch_size = 8", ":2: rag.batch_size is not a known key; did you mean rag.embedding.batch_size?"),
        ("[rga]\nenabled = true", ":1: rga is not a known key; did you mean rag?"),
        ("[providers.candle]\ntemprature = 1", ":2: providers.candle.temprature is not a known key; did you mean providers.candle.temperature?"),
        ("\n\n[rag]\nvector_store = { dimensions = 3 }", ":4: rag.vector_store is not a known key; did you mean rag.vector_storage?"),
        ("[runtime.sessions]\nzzz = 1", ":2: runtime.sessions.zzz is not a known key; known there: enabled, max_sessions"),
        ("trusted = true", ":1: trusted is not a known key"),
        ("rag = 5", ":1: rag is 5; it is a table, [rag]."),
        ("[providers]\nopenai = 5", ":2: providers.openai is not a known key"),
        ('[providers.candle]\ntype = "candle"\nprovider_type = "candle"', ":3: providers.candle.provider_type is set twice"),
        ("[providers.candle]\noptions = { top_p = nan }", ":2: providers.candle.options is {top_p = nan}; it can be"),
        ("[providers.candle]\noptions = { top_p = [1] }", ":2: providers.candle.options is {top_p = [1]}; it can be"),
        ('[providers."a.b"]\ntype = "openai"', ' is not a name of a provider'),
        ('[providers.mine]\nmodel = "x"', ":2: providers.mine.provider_type is missing; it can be one of candle, ollama"),
        ('[providers.a-b]\ntype = "openai"\n[providers.a_b]\ntype = "openai"', "would have the same variables"),
        ("[rag.chunking]\nchunk_size = 10\noverlap = 10", ":3: rag.chunking.overlap is 10; it must be less than rag.chunking.chunk_size, which is 10."),
        ("[rag.vector_storage.hnsw]\nef_construction = 5", ":2: rag.vector_storage.hnsw.ef_construction is 5; it must be at least rag.vector_storage.hnsw.m, which is 16."),
        ("[rag.vector_storage.hnsw]\nm = 64\n[rag.chunking]\nchunk_size = 32", ":4: rag.chunking.overlap is 64; it must be less than"),
        ("extends = 5", ":1: extends is 5; it can be the name of a profile."),
        ('extends = "candel"', ':1: extends is "candel"; it can be one of candle'),
        ("x = 1\nx = 2", ":2: this is not TOML"),
        ("[rag\n", ":1: this is not TOML"),
        ("a = \"\x00\"", ":1: this is not TOML"),
        ("é = 1", ":1: this is not TOML"),
        ('"b\\nc" = 1', ":1: b\\nc is not a known key"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(machine: Machine, text: str, says: str) -> None:
    path = machine.file(text)
    with pytest.raises(ConfigError) as error:
        machine.load(config_file=path)
    message = str(error.value)
    assert says in message
    assert message.startswith(str(path))
    assert len(message.splitlines()) == 1


def test_json_schema_is_what_files_are_held_to(machine: Machine) -> None:
    schema = leaves.json_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    for path in paths.builtin_profiles().iterdir():
        validator.validate(tomllib.loads(path.read_text()))
    validator.validate({"extends": "candle", "providers": {"x": {"type": "openai", "model": "y"}}})
    for wrong in (
        {"x": 1},
        {"rag": {"x": 1}},
        {"rag": {"embedding": {"batch_size": "8"}}},
        {"rag": {"embedding": {"batch_size": 0}}},
        {"providers": {"c": {"type": "x"}}},
    ):
        assert list(validator.iter_errors(wrong)), wrong
    for table in [schema, *schema["$defs"].values()]:
        for name, facts in table["properties"].items():
            assert facts.get("description") or "$ref" in str(facts), name


def test_what_is_shown_can_be_read_back(machine: Machine) -> None:
    for name in ("rag-prod", "sessions", "ollama", "development"):
        loaded = machine.load(name)
        text = writing.toml(loaded.show())
        again = machine.load(config_file=machine.file(text))
        assert again.configuration == loaded.configuration
    section = writing.toml(loaded.show("runtime.sessions"), "runtime.sessions")
    assert section.startswith("[runtime.sessions]\nenabled = ")


def test_a_file_to_start_from(machine: Machine) -> None:
    text = writing.starter("rag-dev")
    loaded = machine.load(config_file=machine.file(text))
    assert loaded.configuration == machine.load("rag-dev").configuration
    shown = [
        line.removeprefix("# ") for line in text.splitlines()[3:] if not line.endswith(" table.")
    ]
    filled = machine.file("\n".join(line for line in shown if " = ..." not in line))
    assert machine.load(config_file=filled).explain("engine.queue_limit").set_by.line
    everything = writing._starter("candle", LEAVES)
    assert len(everything) < 32 * 1024
