"""Which layer wins, and what is told of the others."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from llmspell_jupyter.config import loading, paths
from llmspell_jupyter.config.loaded import diff
from llmspell_jupyter.errors import ConfigError
from tests.config.conftest import Machine

KEY = "rag.embedding.batch_size"
VARIABLE = "LLMSPELL_RAG_EMBEDDING_BATCH_SIZE"
# Each layer says another number; rag-production says 32.
ORDER = ["environment", "profile", "config file", "discovered file", "default"]
VALUES = {
    "environment": 11,
    "profile": 128,
    "config file": 13,
    "discovered file": 14,
    "default": 32,
}


def _load(machine: Machine, speaking: set[str]) -> loading.Loaded:
    profile = config_file = None
    if "environment" in speaking:
        machine.environ[VARIABLE] = "11"
    if "profile" in speaking:
        profile = "rag-perf"
    if "config file" in speaking:
        config_file = machine.file("# given\n[rag.embedding]\nbatch_size = 13\n")
    if "discovered file" in speaking:
        machine.file("[rag.embedding]\nbatch_size = 14\n", "llmspell.toml")
    return machine.load(profile, config_file)


@pytest.mark.parametrize("pair", list(itertools.combinations(ORDER, 2)), ids=" over ".join)
def test_each_pair_of_layers(machine: Machine, pair: tuple[str, str]) -> None:
    if set(pair) == {"profile", "config file"}:
        with pytest.raises(
            ConfigError, match="Profile and configuration file cannot be used together"
        ) as error:
            _load(machine, set(pair))
        assert 'extends = "rag-perf"' in error.value.hint
        return
    loaded = _load(machine, set(pair))
    explained = loaded.explain(KEY)
    assert explained.value == VALUES[pair[0]]
    assert loaded.configuration.rag.embedding.batch_size == VALUES[pair[0]]
    assert explained.set_by.layer == pair[0]
    assert [each.origin.layer for each in explained.layers] == list(
        dict.fromkeys([*pair, "default"])
    )
    assert [each.value for each in explained.layers] == list(
        dict.fromkeys([VALUES[pair[0]], VALUES[pair[1]], 32])
    )


def test_all_layers_at_once(machine: Machine) -> None:
    loaded = _load(machine, {"environment", "profile", "discovered file"})
    explained = loaded.explain(KEY)
    assert [(each.origin.layer, each.value) for each in explained.layers] == [
        ("environment", 11),
        ("profile", 128),
        ("discovered file", 14),
        ("default", 32),
    ]
    assert explained.set_by.variable == explained.variable == VARIABLE
    profile, found = explained.layers[1].origin, explained.layers[2].origin
    text = paths.builtin_profiles().joinpath("rag-performance.toml").read_text().splitlines()
    assert profile.line and text[profile.line - 1] == "batch_size = 128"
    assert (profile.name, found.path, found.line) == (
        "rag-performance",
        machine.work / "llmspell.toml",
        2,
    )
    said = str(explained)
    assert said.splitlines()[0] == "rag.embedding.batch_size = 11"
    for part in (
        "Texts that are embedded at a time.",
        "from 1 to 65536",
        f"environment {VARIABLE}",
        "128: profile rag-performance (",
        "14: discovered file (",
        "llmspell.toml:2)",
        "32: default",
        "Not yet in force",
    ):
        assert part in said


def test_each_key_is_decided_for_itself(machine: Machine) -> None:
    machine.file("[rag.embedding]\nbatch_size = 14\n[engine]\nqueue_limit = 3\n", "llmspell.toml")
    loaded = machine.load("rag-perf")
    assert loaded.explain(KEY).set_by.layer == "profile"
    assert loaded.explain("engine.queue_limit").set_by.layer == "discovered file"


PLACES = [
    "work/llmspell.toml", "work/.llmspell.toml", "work/config/llmspell.toml", "work/.config/llmspell.toml",
    "home/.llmspell.toml", "home/.config/llmspell.toml", "xdg/llmspell/config.toml", "home/.llmspell/a.toml", "home/.llmspell/b.toml", "jupyter/llmspell.toml",
]  # fmt: skip


def test_places_of_discovery(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the last to the first, each goes before those that are there already."""
    monkeypatch.setattr(
        paths, "jupyter_config_path", lambda: [str(tmp_path / "jupyter"), str(tmp_path / "none")]
    )
    machine.environ["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    for number, place in reversed(list(enumerate(PLACES, 1))):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[engine]\nqueue_limit = {number}\n")
        explained = machine.load().explain("engine.queue_limit")
        assert (explained.value, explained.set_by.path) == (number, path)


def test_without_xdg_the_usual_folder_counts(machine: Machine) -> None:
    path = machine.home / ".config" / "llmspell" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text("[engine]\nqueue_limit = 5\n")
    assert machine.load().configuration.engine.queue_limit == 5


def test_a_discovered_file_starts_from_the_default_profile_or_its_own(machine: Machine) -> None:
    path = machine.file("[runtime]\nscript_timeout_seconds = 5\n", "llmspell.toml")
    loaded = machine.load()
    assert (loaded.name, list(loaded.configuration.providers.named())) == ("candle", ["candle"])
    machine.file('extends = "ollama"\n', "llmspell.toml")
    loaded = machine.load()
    assert (loaded.name, list(loaded.configuration.providers.named())) == ("ollama", ["ollama"])
    assert loaded.explain("providers.ollama.base_url").set_by.layer == "discovered file"
    path.unlink()


def test_a_configuration_file_stands_alone_or_starts_from_a_profile(machine: Machine) -> None:
    loaded = machine.load(config_file=machine.file("[engine]\nqueue_limit = 5\n"))
    assert (loaded.name, loaded.configuration.providers.named()) == ("given.toml", {})
    loaded = machine.load(
        config_file=machine.file('extends = "local"\n[providers.local]\nmodel = "x"\n')
    )
    explained = loaded.explain("providers.candle.default_model")
    assert (explained.value, explained.set_by.line) == ("x", 3)
    assert [each.value for each in explained.layers] == ["x", "smollm2:135m", None]


def test_variables_choose_when_nothing_else_does(machine: Machine) -> None:
    path = machine.file("[engine]\nqueue_limit = 5\n")
    machine.environ["LLMSPELL_CONFIG"] = str(path)
    assert machine.load().name == "given.toml"
    assert machine.load("minimal").name == "minimal"
    machine.environ["LLMSPELL_PROFILE"] = "state"
    with pytest.raises(ConfigError, match="LLMSPELL_PROFILE is 'state', LLMSPELL_CONFIG is '"):
        machine.load()
    del machine.environ["LLMSPELL_CONFIG"]
    assert machine.load().name == "state"


def test_show_and_its_mistakes(machine: Machine) -> None:
    loaded = machine.load("rag-dev")
    assert (
        loaded.show()["rag"]["chunking"]["overlap"]
        == loaded.show("rag.chunking")["overlap"]
        == loaded.show("rag.chunking.overlap")
        == 32
    )
    assert loaded.show("[rag.chunking]") == loaded.show("rag.chunking")
    assert loaded.show("providers.nobody") is None
    for wrong, says in (
        ("rag.chunkin", "did you mean rag.chunking"),
        ("nothing", "tables are"),
        ("x" * 10_000, "is not a known key"),
    ):
        with pytest.raises(ConfigError, match=says) as error:
            loaded.show(wrong)
        assert len(str(error.value)) < 400
    with pytest.raises(
        ConfigError, match="rag is a table, not a key; it has enabled, multi_tenant"
    ):
        loaded.explain("rag")


def test_differences(machine: Machine) -> None:
    one, other = machine.load("rag-dev"), machine.load("rag-prod")
    found = {each.key: (each.one, each.other) for each in diff(one, other)}
    assert found["rag.multi_tenant"] == (False, True)
    assert found["rag.debug.log_all_operations"] == (True, False)
    assert "rag.enabled" not in found
    assert "rag.vector_storage.hnsw.metric" not in found
    assert diff(one, machine.load("rag-development")) == ()
    assert [
        each.key
        for each in diff(machine.load("minimal"), machine.load("ollama"))
        if each.key.endswith("base_url")
    ] == ["providers.ollama.base_url"]


def test_what_is_not_yet_in_force_is_told(machine: Machine) -> None:
    path = machine.file("[engine]\nqueue_limit = 5\n[hooks]\nenabled = true\n")
    ((key, origin),) = loading.check_file(path).pending()
    assert (key, str(origin)) == ("hooks.enabled", f"config file ({path}:4)")


def test_a_backend_is_taken_from_its_profile(machine: Machine) -> None:
    machine.environ["OLLAMA_HOST"] = "gpu.example:1234"
    bare = machine.load("minimal")
    loaded = loading.with_backend(bare, "ollama", environ=machine.environ)
    assert loaded is not None
    assert (loaded.name, list(loaded.configuration.providers.named())) == ("minimal", ["ollama"])
    assert loaded.configuration.providers.default_provider is None
    assert loaded.configuration.engines == bare.configuration.engines
    assert [
        (each.origin.layer, each.value)
        for each in loaded.explain("providers.ollama.base_url").layers
    ] == [
        ("environment", "http://gpu.example:1234"),
        ("default", "http://localhost:11434"),
        ("default", None),
    ]
    assert loading.with_backend(bare, "local", environ={}) is not None
    assert loading.with_backend(bare, "state", environ={}) is None
    assert loading.with_backend(bare, "nobody", environ={}) is None
