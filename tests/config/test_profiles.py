"""The shipped profiles: what they say, whom they are for, and what an unknown one is told."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from llmspell_jupyter.config import leaves, paths, profiles
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.errors import ConfigError, ProviderError, UnknownProfile
from llmspell_jupyter.providers import Turn, configured
from tests.config.conftest import Machine

NAMES = [
    "candle",
    "development",
    "minimal",
    "ollama",
    "providers",
    "rag-development",
    "rag-performance",
    "rag-production",
    "sessions",
    "state",
]

# Of rs-llmspell's three retrieval profiles; - is a key that the profile leaves alone.
RAG = """
enabled                                   true            true            true
multi_tenant                              false           true            false
vector_storage.backend                    hnsw            hnsw            hnsw
vector_storage.max_memory_mb              512             4096            8192
vector_storage.hnsw.m                     8               16              48
vector_storage.hnsw.ef_construction       50              200             500
vector_storage.hnsw.ef_search             25              50              200
vector_storage.hnsw.max_elements          10000           5000000         50000000
vector_storage.hnsw.metric                cosine          cosine          cosine
vector_storage.hnsw.allow_replace_deleted true            true            false
vector_storage.hnsw.num_threads           2               4               16
embedding.cache_enabled                   false           true            true
embedding.cache_size                      100             20000           100000
embedding.cache_ttl_seconds               60              1800            86400
embedding.batch_size                      4               32              128
embedding.timeout_seconds                 10              45              120
embedding.max_retries                     1               3               2
chunking.strategy                         sliding_window  sliding_window  sliding_window
chunking.chunk_size                       256             512             1024
chunking.overlap                          32              64              256
chunking.max_chunk_size                   1024            2048            4096
chunking.min_chunk_size                   50              100             200
cache.search_cache_enabled                false           true            true
cache.search_cache_size                   10              5000            50000
cache.search_cache_ttl_seconds            30              600             3600
cache.document_cache_enabled              false           true            true
cache.document_cache_size_mb              10              256             2048
debug.enable_debug_logging                true            -               -
debug.log_all_operations                  true            -               -
debug.save_debug_dumps                    true            -               -
performance.enable_metrics                -               -               true
performance.metrics_interval_seconds      -               -               60
performance.log_slow_operations           -               -               true
performance.slow_operation_threshold_ms   -               -               100
monitoring.enable_metrics                 -               true            -
monitoring.metrics_export_interval        -               60              -
monitoring.enable_health_checks           -               true            -
monitoring.alert_on_errors                -               true            -
monitoring.error_threshold_per_minute     -               10              -
security.enable_audit_logging             -               true            -
security.enable_rate_limiting             -               true            -
security.rate_limit_per_user              -               100             -
security.enable_input_validation          -               true            -
security.max_input_size_kb                -               100             -
backup.enable_auto_backup                 -               true            -
backup.backup_interval_hours              -               24              -
backup.backup_retention_days              -               30              -
"""
# Where the shipped ones differ on purpose.
DEVIATIONS = {"vector_storage.dimensions": 0, "embedding.default_provider": "candle"}
IN_DATA_FOLDER = {
    "vector_storage.persistence_path",
    "debug.debug_dump_path",
    "security.audit_log_path",
    "backup.backup_path",
}


def test_there_are_ten() -> None:
    assert profiles.names() == NAMES


@pytest.mark.parametrize(
    "path", sorted(paths.builtin_profiles().iterdir()), ids=lambda path: path.name
)
def test_every_file_of_the_folder_loads(machine: Machine, path: Path) -> None:
    assert path.suffix == ".toml"
    loaded = machine.load(path.stem)
    assert (loaded.name, loaded.path) == (path.stem, path)
    assert not loaded.notices
    about = next(each.about for each in profiles.listing() if each.name == path.stem)
    assert about.startswith("For ")


def test_no_profile_repeats_another(machine: Machine) -> None:
    said = {
        name: {key: repr(each.value) for key, each in machine.load(name).values.items()}
        for name in NAMES
    }
    for one in NAMES:
        for other in NAMES:
            assert one == other or said[one] != said[other], (one, other)


@pytest.mark.parametrize("column, name", list(enumerate(["rag-dev", "rag-prod", "rag-perf"])))
def test_retrieval_profiles_are_complete(machine: Machine, column: int, name: str) -> None:
    loaded = machine.load(name)
    expected = {}
    for line in RAG.strip().splitlines():
        key, *values = line.split()
        if values[column] != "-":
            text = values[column]
            expected[f"rag.{key}"] = (
                tomllib.loads(f"v = {text}")["v"] if text[0] in "tf0123456789" else text
            )
    expected |= {f"rag.{key}": value for key, value in DEVIATIONS.items()}
    found = {key: given.value for key, given in loaded.values.items() if key.startswith("rag.")}
    in_folder = {key for key in found if key.removeprefix("rag.") in IN_DATA_FOLDER}
    assert all(str(found.pop(key)).startswith("${JUPYTER_DATA_DIR}/llmspell/") for key in in_folder)
    assert found == expected
    assert "candle" in loaded.configuration.providers.named()


def test_the_others_say_what_they_said_upstream(machine: Machine) -> None:
    def values(name: str) -> dict[str, object]:
        return {key: given.value for key, given in machine.load(name).values.items()}

    openai = {
        "provider_type": "openai",
        "api_key_env": "OPENAI_API_KEY",
        "temperature": 0.7,
        "timeout_seconds": 60,
    }
    development, providers = values("development"), values("providers")
    for field, value in openai.items():
        assert (
            development[f"providers.openai.{field}"]
            == providers[f"providers.openai.{field}"]
            == value
        )
    models = [
        development["providers.openai.default_model"],
        development["providers.anthropic.default_model"],
    ]
    assert models == ["gpt-4", "claude-3-5-sonnet-20241022"]
    models = [
        providers["providers.openai.default_model"],
        providers["providers.anthropic.default_model"],
    ]
    assert models == ["gpt-3.5-turbo", "claude-3-haiku-20240307"]
    assert [each["providers.openai.max_tokens"] for each in (development, providers)] == [
        4000,
        2000,
    ]
    assert [each["runtime.log_level"] for each in (development, providers)] == ["debug", "info"]
    assert values("minimal")["engines.lua.stdlib"] == "Basic"
    assert values("minimal")["runtime.log_level"] == "warn"
    candle = values("candle")
    assert candle["providers.candle.default_model"] == "smollm2:135m"
    assert (candle["providers.candle.context_size"], candle["providers.candle.batch_size"]) == (
        4096,
        512,
    )
    ollama = values("ollama")
    assert ollama["providers.ollama.base_url"] == "http://localhost:11434"
    assert ollama["providers.ollama.timeout_seconds"] == 120
    for name in ("state", "sessions"):
        assert values(name)["runtime.state_persistence.backend_type"] == "sqlite"
        assert values(name)["runtime.state_persistence.max_state_size_bytes"] == 10_000_000
    sessions = values("sessions")
    assert sessions["runtime.sessions.storage_backend"] == "sqlite"
    assert (sessions["hooks.enabled"], sessions["events.buffer_size"]) == (True, 1000)


def test_aliases(machine: Machine) -> None:
    aliases = {
        "local": "candle",
        "rag-dev": "rag-development",
        "rag-prod": "rag-production",
        "rag-perf": "rag-performance",
    }
    assert dict(profiles.ALIASES) == aliases
    for alias, name in aliases.items():
        assert machine.load(alias).name == name


def test_a_notebook_without_any_setting_uses_candle(machine: Machine) -> None:
    loaded = machine.load()
    assert loaded.name == "candle"
    assert loaded.configuration.providers.default_provider == "candle"
    assert str(loaded.explain("providers.candle.default_model").set_by).startswith(
        "default candle ("
    )


def test_an_unknown_profile_is_told_all_by_group(machine: Machine) -> None:
    with pytest.raises(UnknownProfile) as error:
        machine.load("rag-devel")
    assert error.value.message == (
        "Unknown builtin profile 'rag-devel'. Available profiles: Core: minimal, development; "
        "Common: providers, state, sessions; Local LLM: ollama, candle; RAG: rag-dev, rag-prod, rag-perf."
    )
    assert error.value.hint == "Type: %llmspell_profile rag-dev"
    with pytest.raises(UnknownProfile) as error:
        machine.load("x\n" * 10_000)
    assert len(error.value.message.splitlines()) == 1
    assert len(error.value.message) < 400


def test_a_new_file_is_a_profile_of_its_own_group(
    monkeypatch: pytest.MonkeyPatch, machine: Machine
) -> None:
    folder = machine.work / "profiles"
    machine.file('# For a course.\nextends = "first"\n', "profiles/second.toml")
    machine.file("# For all.\n[engine]\nqueue_limit = 3\n", "profiles/first.toml")
    monkeypatch.setattr(paths, "builtin_profiles", lambda: folder)
    assert [(each.name, each.group, each.about) for each in profiles.listing()] == [
        ("first", "More", "For all."),
        ("second", "More", "For a course."),
    ]
    loaded = machine.load("second")
    explained = loaded.explain("engine.queue_limit")
    assert (explained.value, explained.set_by.name, explained.set_by.line) == (3, "first", 3)


@pytest.mark.parametrize(
    "files, says",
    [
        ({"a": "b", "b": "a"}, "a -> b -> a"),
        ({"a": "a"}, "a -> a"),
        ({"a": "nowhere"}, "it can be one of a"),
        (
            {f"{letter}": chr(ord(letter) + 1) for letter in "abcdefghijk"} | {"l": ""},
            "goes too far",
        ),
    ],
)
def test_extends_that_leads_nowhere(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, files: dict[str, str], says: str
) -> None:
    for name, target in files.items():
        machine.file(f'\nextends = "{target}"\n' if target else "", f"profiles/{name}.toml")
    monkeypatch.setattr(paths, "builtin_profiles", lambda: machine.work / "profiles")
    with pytest.raises(ConfigError, match=says) as error:
        machine.load("a")
    assert ".toml:2: extends" in error.value.message
    assert len(str(error.value).splitlines()) == 1


def test_providers_that_have_not_landed_are_listed_and_say_so(machine: Machine) -> None:
    """Until each has a module of its own here: then it leaves this list."""
    loaded = machine.load("rag-dev")
    found = configured(loaded.configuration, EngineClient())
    assert list(found) == ["openai", "anthropic", "candle"] or set(found) == {
        "openai",
        "anthropic",
        "candle",
    }
    with pytest.raises(ProviderError, match="not yet in force"):
        found["openai"].generate(Turn("gpt-4", ()))
    assert found["openai"].capabilities()["available_models"] == []


def test_no_profile_sets_what_it_need_not(machine: Machine) -> None:
    """What a profile inherits it does not say again."""
    for name in NAMES:
        first, *others = profiles.layers(name)
        for other in others:
            for key in first.values.keys() & other.values.keys():
                assert (
                    first.values[key].value != other.values[key].value or key == "runtime.log_level"
                ), (name, key)


def test_every_default_of_a_profile_is_a_known_key() -> None:
    for name in NAMES:
        for layer in profiles.layers(name):
            assert all(leaves.find(key) for key in layer.values)


def test_a_configuration_stands_in_one_place() -> None:
    """Examples, notebooks and documentation name profiles; they carry no copy of one."""
    root = paths.builtin_profiles().parent.parent
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.split()
    tables = {
        path for path in tracked if path.endswith(".toml") and not path.startswith("builtins/")
    }
    assert tables == {"pyproject.toml"}
    for path in tracked:
        if path.startswith(("builtins/", "tests/config/", "llmspell_jupyter/config/")) or Path(
            path
        ).suffix not in (".py", ".md", ".ipynb", ".lua"):
            continue
        lines = [
            line.strip().strip('",').removesuffix("\\n")
            for line in (root / path).read_text("utf-8").splitlines()
        ]
        tables_of = [
            line
            for line in lines
            if line.startswith(("[providers.", "[rag", "[engines.", "[runtime."))
        ]
        assert len(tables_of) <= 1, (path, tables_of)
