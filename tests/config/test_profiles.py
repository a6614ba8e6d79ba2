"""Profiles: the shipped ones load; a mistake is one message with file, key and nearest (C1, C4)."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from llmspell_jupyter.config import paths, profiles
from llmspell_jupyter.config.schema import Configuration
from llmspell_jupyter.errors import ConfigError, UnknownProfile

SHIPPED = sorted(paths.builtin_profiles().glob("*.toml"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


def wrong(file: Path, text: str | bytes) -> ConfigError:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    started = time.process_time()
    with pytest.raises(ConfigError) as caught:
        profiles.read(file)
    assert time.process_time() - started < 0.5
    assert caught.value.message.startswith(str(file)) and "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_profile_loads(path: Path) -> None:
    profile = profiles.load(path.stem)
    assert (profile.name, profile.path) == (path.stem, path)
    assert path.stem in profiles.names()
    # Every key of it means something: nothing was dropped.
    written = tomllib.loads(path.read_text("utf-8"))
    assert profile.configuration.default_engine == written.get("default_engine", "lua")
    given = written.get("providers", {})
    providers = profile.configuration.providers
    assert set(providers.named()) == {
        name for name, each in given.items() if isinstance(each, dict)
    }
    if providers.default_provider is not None:
        assert providers.default_provider in providers.named()


def test_there_are_profiles() -> None:
    assert profiles.names() == [path.stem for path in SHIPPED] and "candle" in profiles.names()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_profile_tells_what_it_is_for(path: Path) -> None:
    assert path.read_text("utf-8").startswith("# ")


def test_another_name() -> None:
    assert profiles.load("local").name == "candle"
    assert profiles.load(" candle ").name == "candle"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("candel", "candle"),
        ("minimum", "minimal"),
        ("", "candle"),
        ("../candle", "candle"),
        ("candle.toml", "candle"),
        ("x" * 10_000, "candle"),
        ("\x00", "candle"),
    ],
    ids=lambda name: name[:12],
)
def test_an_unknown_profile(name: str, near: str) -> None:
    with pytest.raises(UnknownProfile) as caught:
        profiles.load(name)
    assert "candle, minimal" in caught.value.message and len(caught.value.message) < 300
    assert caught.value.hint == f"Type: %llmspell_profile {near}"


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("default_engin = 'lua'", "default_engin", "default_engine"),
        ("[provider.candle]", "provider", "providers"),
        (
            "[providers.candle]\nprovider_type = 'candle'\ncontextsize = 1",
            "providers.candle.contextsize",
            "context_size",
        ),
        ("[runtime]\nscript_timeout = 1", "runtime.script_timeout", "script_timeout_seconds"),
        (
            "[runtime.security]\nallow_network = true",
            "runtime.security.allow_network",
            "allow_network_access",
        ),
        ("[engines.lua]\nmax_memory = 1", "engines.lua.max_memory", "max_memory_bytes"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(
    file: Path, text: str, key: str, near: str
) -> None:
    error = wrong(file, text)
    assert f"{key} is not a known key" in error.message
    assert error.hint == f"Did you mean {near!r}?" and error.data == {"key": key}


def test_without_a_near_key_all_are_named(file: Path) -> None:
    error = wrong(file, "[runtime.security]\nzzz = 1")
    assert error.hint == "Known here: allow_file_access, allow_network_access, allow_process_spawn."


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("default_engine = 'javascript'", "default_engine"),
        ("providers = 3", "providers"),
        ("[providers]\ncandle = 'candle'", "providers.candle"),
        ("[providers.x]", "providers.x.provider_type"),
        ("[providers.x]\nprovider_type = 'openai'", "providers.x.provider_type"),
        *(
            (f"[providers.x]\nprovider_type = 'candle'\n{key} = {value}", f"providers.x.{key}")
            for key, value in [
                ("enabled", "'yes'"),
                ("default_model", "3"),
                ("temperature", "'0.5'"),
                ("temperature", "-0.1"),
                ("temperature", "nan"),
                ("temperature", "inf"),
                ("max_tokens", "0"),
                ("max_tokens", "'8'"),
                ("max_tokens", "1.5"),
                ("timeout_seconds", "0"),
                ("timeout_seconds", "inf"),
                ("timeout_seconds", "nan"),
                ("context_size", "-1"),
                ("context_size", "10_000_000_000"),
                ("batch_size", "0"),
                ("cpu_threads", "-1"),
                ("cpu_threads", "true"),
            ]
        ),
        ("[runtime]\nscript_timeout_seconds = 0", "runtime.script_timeout_seconds"),
        ("[runtime.security]\nallow_file_access = 1", "runtime.security.allow_file_access"),
        ("[engines.lua]\nmax_memory_bytes = 1", "engines.lua.max_memory_bytes"),
        ("[engines.lua]\nmax_memory_bytes = 1e9", "engines.lua.max_memory_bytes"),
    ],
)
def test_a_wrong_value_is_named(file: Path, text: str, key: str) -> None:
    error = wrong(file, text)
    assert f": {key}: " in error.message and error.data == {"key": key}


@pytest.mark.parametrize(
    "text",
    [
        "a = ",
        "[a",
        "a = 1\na = 2",
        b"\xff\xfe",
        "a = " + "[" * 5_000,
        "a = " + "[\n" * 20_000,
        "a = " + "{x = " * 150,
        ".".join("a" * 10_000) + " = 1",
        "\n".join(f"b{number}." + ".".join("a" * 480) + " = 1" for number in range(60)),
        "# " + "x" * 300_000,
        "\x00",
    ],
    ids=lambda text: repr(text[:8]),
)
def test_what_is_no_toml(file: Path, text: str | bytes) -> None:
    wrong(file, text)


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        profiles.read(file)


def test_a_huge_file_is_not_read(file: Path) -> None:
    with file.open("wb") as huge:
        huge.truncate(2**30)
    with pytest.raises(ConfigError, match="larger than 64 KiB"):
        profiles.read(file)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=st.sampled_from(SHIPPED), data=st.data())
def test_mutants_are_profiles_or_config_errors(file: Path, path: Path, data: st.DataObject) -> None:
    mutant = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(mutant) - 1))
        mutant[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    file.write_bytes(mutant)
    try:
        profiles.read(file)
    except ConfigError as error:
        assert error.message.startswith(str(file))


def test_nothing_sets_a_trust_flag() -> None:
    """No key of a profile makes its file trusted (C2)."""

    def keys(model: type[BaseModel]) -> set[str]:
        names = set(model.model_fields)
        for field in model.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                names |= keys(field.annotation)
        return names

    assert not [name for name in keys(Configuration) if "trust" in name or "path" in name]


def test_a_loaded_profile_cannot_be_changed() -> None:
    configuration = profiles.load("minimal").configuration
    with pytest.raises(ValidationError):
        configuration.runtime.security.allow_network_access = True  # type: ignore[misc]
