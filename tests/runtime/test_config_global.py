"""``Config``: what scripts may change, and what they may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.config import loading
from llmspell_jupyter.config.policy import Policy
from llmspell_jupyter.errors import ConfigError, LLMSpellError, ProviderError, RequestError
from llmspell_jupyter.runtime.runtime import Runtime


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    made = Runtime()
    made.use("candle")
    yield made
    made.reset()
    made.engine.close()


def _lua(runtime: Runtime, source: str) -> Any:
    return runtime.start_lua(source, "cell[1]").result(timeout=60)


def test_a_provider_can_be_set_up_for_the_notebook(runtime: Runtime) -> None:
    _lua(runtime, 'Config.setProvider("candle", {default_model = "echo", max_tokens = 2})')
    assert _lua(runtime, "return Config.getProvider('candle').max_tokens") == 2
    assert _lua(runtime, "return Agent.builder():build():complete('one two three')") == "one two "
    explanation = runtime.profile.explain("providers.candle.max_tokens")
    assert explanation.set_by.layer == "script"
    runtime.use("candle")
    assert _lua(runtime, "return Config.getProvider('candle').max_tokens") is None


def test_a_snapshot_brings_everything_back(runtime: Runtime) -> None:
    assert _lua(
        runtime,
        """local first, second = Config.snapshot(), Config.snapshot()
Config.setProvider("candle", {max_tokens = 2})
Config.restoreSnapshot(first)
return {first ~= second, Config.getProvider("candle").max_tokens == nil}""",
    ) == [True, True]
    with pytest.raises(RequestError, match="no snapshot"):
        _lua(runtime, "Config.restoreSnapshot(1)")


def test_paths_for_tools_are_added(runtime: Runtime) -> None:
    paths = _lua(
        runtime,
        "Config.addAllowedPath('/data')\nreturn Config.getTools().file_operations.allowed_paths",
    )
    assert "/data" in paths
    assert len(paths) > 1


def test_security_is_not_for_scripts(runtime: Runtime) -> None:
    with pytest.raises(ConfigError, match="Cannot modify security settings without permission"):
        _lua(runtime, "Config.setSecurity({allow_file_access = true})")
    permissions = _lua(runtime, "return Config.getPermissions()")
    assert permissions["read"] is True
    assert permissions["modify_security"] is False
    assert permissions["access_secrets"] is False


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("Config.setProvider('candle', {contxt_size = 1})", "context_size"),
        ("Config.setProvider('candle', {max_tokens = -1})", "max_tokens"),
        ("Config.setProvider('candle')", "table of settings"),
        ("Config.addAllowedPath({})", "takes a path"),
    ],
)
def test_wrong_changes_change_nothing(runtime: Runtime, source: str, says: str) -> None:
    before = runtime.profile
    with pytest.raises(LLMSpellError, match=says):
        _lua(runtime, source)
    assert runtime.profile is before


def test_an_administrator_outranks_scripts(runtime: Runtime, tmp_path: Path) -> None:
    policy = Policy(
        who="the file of the administrator",
        fixed={"providers.*.max_tokens": 5},
        providers=["candle"],
        models=["smollm2:*"],
    )
    runtime.apply(loading.load("candle", environ={}, cwd=tmp_path, admin=policy))
    with pytest.raises(ConfigError, match="fixed by the file of the administrator"):
        _lua(runtime, "Config.setProvider('candle', {max_tokens = 9})")
    assert _lua(runtime, "return Config.getPermissions().allowed_providers") == ["candle"]
    with pytest.raises(ProviderError, match="the file of the administrator allows smollm2"):
        _lua(runtime, "Agent.builder():model('echo'):build()")


def test_no_secret_reaches_a_script(runtime: Runtime) -> None:
    _lua(runtime, "Config.setProvider('openai', {api_key = 'sk-canary', default_model = 'x'})")
    shown = _lua(runtime, "return JSON.stringify(Config.get()), Config.getProvider('openai')")
    assert "sk-canary" not in str(shown)
    assert shown[1]["api_key"] == "<REDACTED>"
