"""Secrets stay out of everything that can be shown."""

from __future__ import annotations

import json
import pickle
import traceback
from pathlib import Path

import pytest

from llmspell_jupyter.config import leaves, redaction, writing
from llmspell_jupyter.config.loaded import diff
from llmspell_jupyter.errors import ConfigError, LLMSpellError
from llmspell_jupyter.runtime.runtime import Runtime
from tests.config.conftest import Machine

CANARY = "sk-canary-4711"
FILE = f"""
extends = "providers"
[providers.openai]
api_key = "{CANARY}"
base_url = "https://user:{CANARY}@host/v1"
options = {{ session_token = "{CANARY}", plain = "seen" }}
[tools.http_request]
default_headers = {{ Authorization = "Bearer {CANARY}", X-Api-Key = "{CANARY}" }}
[tools.github]
api_key = "{CANARY}"
[tools.custom]
db_password = "{CANARY}"
"""


def test_a_canary_is_seen_nowhere(machine: Machine) -> None:
    machine.environ |= {
        "ANTHROPIC_API_KEY": CANARY,
        "LLMSPELL_TOOLS_SEARCH_API_KEY": CANARY,
        "BRAVE_API_KEY": CANARY,
    }
    loaded = machine.load(config_file=machine.file(FILE))
    other = machine.load("providers")
    shown = [
        repr(loaded), str(loaded), repr(loaded.configuration), str(loaded.configuration), repr(loaded.layers), repr(dict(loaded.values)),
        repr(loaded.show()), writing.toml(loaded.show()), json.dumps(dict(loaded.changed())), repr(diff(loaded, other)), repr(loaded.notices),
        *(str(each) + repr(each) for each in (*diff(loaded, other), *diff(other, loaded))),
        *(str(loaded.explain(key)) + repr(loaded.explain(key)) for key in loaded.values),
        repr(loaded.configuration.providers), repr(loaded.configuration.tools),
    ]  # fmt: skip
    assert not [text for text in shown if CANARY in text]
    assert loaded.show("providers.openai.api_key") == "<REDACTED>"
    assert loaded.show("providers.openai.base_url") == "https://<REDACTED>@host/v1"
    assert loaded.show("providers.openai.options") == {
        "session_token": "<REDACTED>",
        "plain": "seen",
    }
    assert loaded.explain("providers.anthropic.api_key").set_by.variable == "ANTHROPIC_API_KEY"


def test_no_variable_enters_the_configuration(machine: Machine) -> None:
    machine.environ |= {"ANTHROPIC_API_KEY": CANARY, "HIDDEN": CANARY}
    path = machine.file('extends = "providers"\n[providers.openai]\napi_key = "${HIDDEN}"\n')
    loaded = machine.load(config_file=path)
    assert CANARY.encode() not in pickle.dumps(loaded.configuration)
    found = loaded.configuration.providers.named()
    assert [
        redaction.api_key(found[name], machine.environ) for name in ("openai", "anthropic")
    ] == [CANARY, CANARY]
    with pytest.raises(
        ConfigError,
        match=r"The variable HIDDEN, which the configuration names as \$\{HIDDEN\}, is not set",
    ):
        redaction.api_key(found["openai"], {})


@pytest.mark.parametrize("key", [key for key, leaf in leaves.leaves().items() if leaf.secret])
@pytest.mark.parametrize(
    "value", [f'["{CANARY}"]', f'{{ a = "{CANARY}" }}', '"' + CANARY * 500 + '"']
)
def test_a_wrong_secret_is_not_quoted(machine: Machine, key: str, value: str) -> None:
    table, _, name = key.replace(leaves.ANY, "openai").rpartition(".")
    path = machine.file(f"[{table}]\n{name} = {value}\n")
    with pytest.raises(ConfigError) as error:
        machine.load(config_file=path)
    assert "<REDACTED>" in str(error.value)
    assert CANARY not in "".join(traceback.format_exception(error.value)) + repr(error.value.data)


def test_names_of_secrets() -> None:
    secret = [
        "api_key",
        "GITHUB_TOKEN",
        "X-Api-Key",
        "password",
        "db.password",
        "client_secret",
        "Authorization",
        "Cookie",
        "key",
    ]
    plain = [
        "max_tokens",
        "api_key_env",
        "tokens_per_minute",
        "cache_size",
        "keyboard",
        "monkey",
        "secretary",
        "default_model",
    ]
    assert all(map(redaction.is_secret, secret))
    assert not any(map(redaction.is_secret, plain))
    # What the schema calls a secret looks like one, and nothing else does.
    for key, leaf in leaves.leaves().items():
        assert leaf.secret == redaction.is_secret(key.rpartition(".")[2]), key


def test_references_are_resolved_at_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", "/data")
    environ = {"HOME": "/home/me", "A": "x", "B": "${A}"}
    assert redaction.resolve("${HOME}/m/${A}${B} $A {A}", environ) == "/home/me/m/x${A} $A {A}"
    assert redaction.resolve_path("${JUPYTER_DATA_DIR}/llmspell", {}) == Path("/data/llmspell")
    assert redaction.resolve_path("~/x", {}) == Path.home() / "x"
    with pytest.raises(ConfigError, match="The variable NOBODY") as error:
        redaction.resolve("${NOBODY}", {})
    assert error.value.hint.endswith("export NOBODY=...")


def test_scripts_do_not_see_them(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    monkeypatch.setenv("LLMSPELL_CONFIG", str(machine.file(FILE)))
    monkeypatch.chdir(machine.work)
    runtime = Runtime()
    try:
        for source in (
            "return JSON.stringify(Config.get())",
            "return JSON.stringify(Config.getProvider('openai'))",
            "return JSON.stringify(Config.toJson())",
            "return JSON.stringify(Config.getSection('providers'))",
        ):
            text = runtime.start_lua(source, "cell[1]").result(timeout=60)
            assert "<REDACTED>" in text
            assert CANARY not in text
        with pytest.raises(LLMSpellError, match="not yet in force") as error:
            runtime.start_lua(
                'Agent.builder():provider("openai"):build():execute("x")', "cell[1]"
            ).result(timeout=60)
        assert CANARY not in str(error.value)
    finally:
        runtime.reset()
        runtime.engine.close()
