"""What an administrator fixes stays fixed, and who tries is told who fixed it."""

from __future__ import annotations

import pytest

from llmspell_jupyter.config import leaves
from llmspell_jupyter.config.policy import Policy
from llmspell_jupyter.errors import ConfigError, ProviderError
from tests.config.conftest import Machine

WHO = "/etc/jupyter/jupyter_config.py"


def _policy(**values: object) -> Policy:
    return Policy(WHO, **values)  # type: ignore[arg-type]


FIXED = {
    "engines.lua.max_memory_bytes": 8_000_000,
    "engines.lua.security_level": "Safe",
    "runtime.security.allow_process_spawn": False,
    "runtime.script_timeout_seconds": 60,
    "providers.*.base_url": "https://models.example/v1",
    "providers.*.model_directory": "/srv/models",
    "models.path": ["/srv/models"],
}
LOOSER = """
[engines.lua]
max_memory_bytes = 900_000_000
security_level = "Unrestricted"
[runtime]
script_timeout_seconds = 9999
[runtime.security]
allow_process_spawn = true
[providers.evil]
type = "openai"
base_url = "https://evil.example"
model_directory = "/tmp"
[models]
path = ["/tmp"]
"""
VARIABLES = {
    "LLMSPELL_ENGINES_LUA_MAX_MEMORY_BYTES": "900000000",
    "LLMSPELL_ENGINES_LUA_SECURITY_LEVEL": "Unrestricted",
    "LLMSPELL_SCRIPT_TIMEOUT_SECONDS": "9999",
    "LLMSPELL_ALLOW_PROCESS_SPAWN": "true",
    "LLMSPELL_PROVIDER_EVIL_TYPE": "openai",
    "LLMSPELL_PROVIDER_EVIL_BASE_URL": "https://evil.example",
    "LLMSPELL_PROVIDER_EVIL_MODEL_DIRECTORY": "/tmp",
    "LLMSPELL_MODEL_PATH": "/tmp",
}


@pytest.mark.parametrize("way", ["config file", "discovered file", "environment", "all"])
def test_nothing_of_a_user_loosens_what_is_fixed(machine: Machine, way: str) -> None:
    config_file = machine.file(LOOSER) if way in ("config file", "all") else None
    if way in ("discovered file", "all"):
        machine.file(LOOSER, "llmspell.toml")
    if way in ("environment", "all"):
        machine.environ |= VARIABLES
    loaded = machine.load(config_file=config_file, admin=_policy(fixed=FIXED))
    for key, value in FIXED.items():
        name = key.replace(leaves.ANY, "evil")
        explained = loaded.explain(name)
        assert explained.value == value
        assert explained.fixed_by_admin == WHO
        assert f"Fixed by {WHO}" in str(explained)
        assert explained.set_by.layer == "administrator"
        said = [each for each in loaded.notices if each.startswith(f"{name} is ")]
        if key == "engines.lua.security_level" and explained.value == value and not said:
            continue
        assert len(said) == 1
        assert WHO in said[0]
        assert "is not in force" in said[0]
    assert loaded.configuration.providers.named()["evil"].base_url == "https://models.example/v1"


def test_who_does_not_try_is_told_nothing(machine: Machine) -> None:
    loaded = machine.load(
        admin=_policy(
            fixed={
                "engine.queue_limit": 3,
                "providers.candle.context_size": 4096,
                "providers.openai.base_url": "x",
            }
        )
    )
    assert not loaded.notices
    assert loaded.configuration.engine.queue_limit == 3
    assert "openai" not in loaded.configuration.providers.all()


def test_an_administrator_can_make_a_provider(machine: Machine) -> None:
    fixed = {
        "providers.hub.provider_type": "openai",
        "providers.hub.base_url": "https://models.example/v1",
        "providers.default_provider": "hub",
    }
    loaded = machine.load("minimal", admin=_policy(fixed=fixed))
    assert list(loaded.configuration.providers.named()) == ["hub"]
    assert loaded.configuration.providers.default_provider == "hub"


def test_allowed_profiles(machine: Machine) -> None:
    policy = _policy(profiles=["minimal", "rag-production"])
    assert machine.load("rag-prod", admin=policy).name == "rag-production"
    with pytest.raises(ConfigError) as error:
        machine.load("candle", admin=policy)
    assert (
        error.value.message
        == f"Profile 'candle' is not allowed here; {WHO} allows minimal, rag-production."
    )
    with pytest.raises(ConfigError, match="Profile 'ollama' is not allowed"):
        machine.load(config_file=machine.file('extends = "ollama"'), admin=policy)
    assert machine.load(admin=policy).name == "minimal"
    machine.environ["LLMSPELL_PROFILE"] = "candle"
    with pytest.raises(ConfigError, match="Profile 'candle' is not allowed"):
        machine.load(admin=policy)


def test_allowed_providers_models_and_devices(machine: Machine) -> None:
    policy = _policy(
        providers=["candle", "anthropic"], models=["smollm2:*", "claude-*"], devices=["cpu"]
    )
    loaded = machine.load("rag-dev", admin=policy)
    named = loaded.configuration.providers.named()
    assert list(named) == ["anthropic", "candle"] or set(named) == {"anthropic", "candle"}
    assert {each.device for each in named.values()} == {"cpu"}
    assert named["candle"].default_model == "smollm2:135m"
    assert any(
        each.startswith('providers.candle.device is "cpu", as allowed devices are set by')
        for each in loaded.notices
    )
    machine.environ["LLMSPELL_PROVIDER_CANDLE_MODEL"] = "other:70b"
    machine.environ["CANDLE_DEVICE"] = "cuda"
    loaded = machine.load("candle", admin=policy)
    assert (
        loaded.configuration.providers.named()["candle"].default_model,
        loaded.configuration.providers.named()["candle"].device,
    ) == (None, "cpu")
    assert len(loaded.notices) == 2
    policy.check_model("candle", "smollm2:135m")
    for provider, model, says in (
        ("openai", "claude-3", "Provider 'openai'"),
        ("candle", "gpt-4", "Model 'gpt-4'"),
    ):
        with pytest.raises(ProviderError, match=f"{says} is not allowed here; {WHO} allows"):
            policy.check_model(provider, model)


@pytest.mark.parametrize(
    "level, allowed",
    [
        ("Safe", "Safe"),
        ("Privileged", "Safe"),
        ("Unrestricted", "Privileged"),
        ("Safe", "Unrestricted"),
    ],
)
def test_the_sandbox_opens_no_further_than_allowed(
    machine: Machine, level: str, allowed: str
) -> None:
    machine.environ["LLMSPELL_ENGINES_LUA_SECURITY_LEVEL"] = level
    loaded = machine.load(admin=_policy(sandbox=allowed))
    levels = ["Safe", "Privileged", "Unrestricted"]
    assert loaded.configuration.engines.lua.security_level == min(level, allowed, key=levels.index)
    assert bool(loaded.notices) == (levels.index(level) > levels.index(allowed))


@pytest.mark.parametrize(
    "values, says",
    [
        ({"fixed": {"engine.queue_limt": 3}}, f"{WHO}: engine.queue_limt is not a known key; did you mean engine.queue_limit?"),
        ({"fixed": {"engine.queue_limit": "3"}}, f'{WHO}: engine.queue_limit is "3"; it can be a whole number from 1 to 1000000 requests.'),
        ({"fixed": {"providers.*.context_size": -1}}, "providers.any.context_size is -1"),
        ({"devices": ["gpu"]}, f'{WHO}: devices has "gpu"; it can be one of auto, cpu, cuda, metal.'),
        ({"sandbox": "Open"}, f'{WHO}: sandbox has "Open"; it can be one of Safe, Privileged, Unrestricted.'),
    ],
)  # fmt: skip
def test_an_administrator_is_held_to_the_schema(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        _policy(**values)
    assert says in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_trust_is_not_a_key() -> None:
    words = {part for key in leaves.leaves() for part in key.split(".")}
    assert not words & {"trusted", "trust", "admin", "policy", "unsafe"}
