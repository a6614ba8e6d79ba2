"""What an administrator's file fixes stays fixed, and users are told by whom (C2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmspell_jupyter.config import administrator, loading
from llmspell_jupyter.errors import ConfigError, ProviderError


def _write(folder: Path, text: str, name: str = "llmspell_config.py") -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return str(folder)


def test_nothing_is_fixed_without_a_file(tmp_path: Path) -> None:
    assert administrator.policy([str(tmp_path)]).fixed == {}


def test_fixed_values_outrank_everything_and_say_who(tmp_path: Path) -> None:
    folder = _write(
        tmp_path / "etc", "c.LLMSpell.fixed = {'engines.lua.max_memory_bytes': 8000000}"
    )
    policy = administrator.policy([folder])
    file = tmp_path / "user.toml"
    file.write_text('extends = "candle"\n[engines.lua]\nmax_memory_bytes = 900000000\n')
    loaded = loading.load(
        config_file=file,
        environ={"LLMSPELL_ENGINES_LUA_MAX_MEMORY_BYTES": "700000000"},
        cwd=tmp_path,
        admin=policy,
    )
    assert loaded.configuration.engines.lua.max_memory_bytes == 8_000_000
    explanation = loaded.explain("engines.lua.max_memory_bytes")
    assert explanation.fixed_by_admin is not None
    assert "llmspell_config.py" in explanation.fixed_by_admin
    assert any("llmspell_config.py" in notice for notice in loaded.notices)


def test_lists_of_what_is_allowed(tmp_path: Path) -> None:
    folder = _write(
        tmp_path / "etc",
        "c.LLMSpell.allowed_profiles = ['candle']\nc.LLMSpell.allowed_models = ['smollm2:*']\n",
    )
    policy = administrator.policy([folder])
    with pytest.raises(ConfigError, match="not allowed here"):
        loading.load("rag-prod", environ={}, cwd=tmp_path, admin=policy)
    loaded = loading.load("candle", environ={}, cwd=tmp_path, admin=policy)
    loaded.policy.check_model("candle", "smollm2:135m")
    with pytest.raises(ProviderError, match="not allowed here"):
        loaded.policy.check_model("candle", "tinyllama")


def test_the_system_outranks_the_environment(tmp_path: Path) -> None:
    strong = _write(
        tmp_path / "system", '{"LLMSpell": {"sandbox": "Safe"}}', "llmspell_config.json"
    )
    weak = _write(tmp_path / "environment", "c.LLMSpell.sandbox = 'Unrestricted'")
    assert administrator.policy([strong, weak]).sandbox == "Safe"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("c.LLMSpell.fixd = {}", "fixd"),
        ("c.LLMSpell.fixed = {'engines.lua.max_memory': 1}", "max_memory_bytes"),
        ("c.LLMSpell.fixed = {'engines.lua.max_memory_bytes': 'x'}", "whole number"),
        ("this is not python", "cannot be read"),
    ],
)
def test_mistakes_name_the_file(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        administrator.policy([_write(tmp_path / "etc", text)])
    assert "llmspell_config.py" in str(error.value)
