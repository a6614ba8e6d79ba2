"""``LocalLLM`` from a script: a real hub, a real engine and an Ollama after the published API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.errors import (
    InvalidModelSpec,
    LLMSpellError,
    ModelNotFound,
    ProviderError,
    PullError,
    RequestError,
)
from llmspell_jupyter.runtime.runtime import Runtime
from tests.support import hub_server, ollama_server, tiny_gguf
from tests.support.engines import in_this_process, runtime_folder
from tests.support.hub_server import Hub
from tests.support.ollama_server import Ollama

REPOSITORY = "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF"
FILE = "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf"
KEY = f"{REPOSITORY}/{FILE}"
ID = "tinyllama:Q4_K_M"

# What nobody listens to.
NOBODY = "http://127.0.0.1:9"


@dataclass
class Room:
    """A hub, an Ollama, and a runtime whose profile has both backends."""

    hub: Hub
    ollama: Ollama
    runtime: Runtime
    size: int

    def run(self, source: str) -> Any:
        return self.runtime.start_lua(source, "cell[1]").result(timeout=60)

    def value(self, expression: str) -> Any:
        return self.run(f"return {expression}")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    folder = tmp_path_factory.mktemp("models")
    weights = Path(tiny_gguf.write_tiny_gguf(folder / "tiny.gguf"))
    file = folder / "both.toml"
    with hub_server.hub() as hub, ollama_server.ollama() as ollama:
        file.write_text(
            'extends = "candle"\n[providers.ollama]\nprovider_type = "ollama"\n'
            f'enabled = true\nbase_url = "{ollama.url}"\n'
        )
        hub.add(REPOSITORY, {FILE: weights}, license="apache-2.0")
        ollama.add("llama3.1:8b", size=1000)
        ollama.offer("qwen3:0.6b", layers=(500_000, 300))
        places = {"HF_HOME": str(folder / "hf"), "OLLAMA_MODELS": str(folder / "ollama")}
        with (
            runtime_folder(**{**hub.environment, **places}) as environment,
            in_this_process(environment),
        ):
            runtime = Runtime()
            runtime.use(config_file=file)
            yield Room(hub, ollama, runtime, weights.stat().st_size)
            runtime.reset()
            runtime.engine.close()


@pytest.fixture
def room(shared: Room) -> Iterator[Room]:
    yield shared
    shared.hub.mend()
    shared.ollama.mend()


@pytest.fixture
def pulled(room: Room) -> Room:
    assert room.value(f'LocalLLM.pull("{ID}@candle").status') == "complete"
    return room


@pytest.fixture
def alone(room: Room) -> Iterator[Runtime]:
    """A runtime of the default profile, which has no Ollama."""
    made = Runtime(room.runtime.engine)
    yield made
    made.reset()


# The acceptance lines


def test_a_pulled_model_is_the_first_of_the_list(pulled: Room) -> None:
    assert pulled.value('LocalLLM.list("candle")[1].id') == ID


def test_what_a_pull_returns_and_tells(room: Room) -> None:
    if ID in [each["id"] for each in room.value('LocalLLM.list("candle")')]:
        room.value(f'LocalLLM.remove("{ID}")')
    last, seen = room.run(
        f"""local seen = {{}}
local r = LocalLLM.pull("{ID}@candle", function(p) seen[#seen + 1] = p end)
return {{r, seen}}"""
    )
    expected = {"model_id": ID, "status": "complete", "percent_complete": 100}
    assert expected.items() <= last.items()
    assert last["bytes_downloaded"] == last["bytes_total"] == room.size
    phases = [each["status"] for each in seen]
    assert phases[0] == "starting" and phases[-1] == "complete"
    assert set(phases) <= {"starting", "downloading", "verifying", "complete"}
    done = [each["bytes_downloaded"] for each in seen]
    assert done == sorted(done)
    assert all(each["bytes_total"] in (None, room.size) for each in map(_whole, seen))
    assert seen[-1]["percent"] == 100


def _whole(step: dict[str, Any]) -> dict[str, Any]:
    return {"bytes_total": None} | step


def test_without_a_server_status_is_a_table_at_once(alone: Runtime, tmp_path: Path) -> None:
    def value(expression: str) -> Any:
        return alone.start_lua(f"return {expression}", "cell[1]").result(timeout=60)

    assert value("LocalLLM.status().ollama") == {
        "running": False,
        "models": 0,
        "error": "Not configured",
    }
    file = tmp_path / "nobody.toml"
    file.write_text(
        'extends = "candle"\n[providers.ollama]\nprovider_type = "ollama"\n'
        f'enabled = true\nbase_url = "{NOBODY}"\n'
    )
    alone.use(config_file=file)
    began = time.monotonic()
    status = value("LocalLLM.status().ollama")
    assert time.monotonic() - began < 1
    assert (status["running"], status["models"]) == (False, 0) and NOBODY in status["error"]
    # A server that does not run hides no other models, and raises nothing.
    assert value("#LocalLLM.list()") == value('#LocalLLM.list("candle")') > 0
    assert value('#LocalLLM.list("ollama")') == 0
    assert value("LocalLLM.status().candle.ready") is True


# Candle


def test_status_of_both_and_of_one(room: Room) -> None:
    both = room.value("LocalLLM.status()")
    assert set(both) == {"ollama", "candle"}
    assert both["ollama"] == {"running": True, "models": 1, "version": ollama_server.VERSION}
    assert both["candle"]["ready"] is True and both["candle"]["models"] > 0
    for name in ("ollama", "candle"):
        assert room.value(f'LocalLLM.status("{name}")') == both | both[name]
    # Whatever it is asked for.
    assert room.value('LocalLLM.status("metal")') == both == room.value("LocalLLM.status(7)")


def test_info_with_and_without_a_backend(pulled: Room) -> None:
    info = pulled.value(f'LocalLLM.info("{ID}")')
    assert info == pulled.value('LocalLLM.info("tinyllama@candle")')
    assert (info["id"], info["backend"], info["format"]) == (ID, "candle", "GGUF")
    assert (info["size_bytes"], info["loaded"]) == (pulled.size, False)
    assert info["repository"] == REPOSITORY and info["bundled"] is False
    assert Path(info["path"]).name == FILE and info["modified_at"] > 1_600_000_000
    assert info["architecture"] == "llama" and info["parameter_count"]


def test_available(pulled: Room) -> None:
    found = pulled.value("LocalLLM.available()")
    by_id = {each["id"]: each for each in found}
    assert by_id["llama3.1:8b@ollama"]["backend"] == "ollama"
    assert by_id["tinyllama"]["installed"] is True
    only = pulled.value('LocalLLM.available("candle", "tinyllama")')
    assert only and {each["backend"] for each in only} == {"candle"}
    with pytest.raises(RequestError, match="not known"):
        pulled.value('LocalLLM.available("metal")')


def test_verified_loaded_counted_unloaded_removed(pulled: Room) -> None:
    seen = pulled.run(
        f"""local seen = {{}}
local r = LocalLLM.verify("{ID}", function(p) seen[#seen + 1] = p.status end)
return {{r.status, seen}}"""
    )
    assert seen[0] == "complete" and seen[1][-1] == "complete"
    assert pulled.value(f'LocalLLM.load("{ID}").model') == ID
    assert pulled.value(f'LocalLLM.info("{ID}").loaded') is True
    assert pulled.value(f'LocalLLM.count("hello", "{ID}")') > 0
    with pytest.raises(LLMSpellError, match="is loaded"):
        pulled.value(f'LocalLLM.remove("{ID}")')
    assert pulled.value(f'LocalLLM.unload("{ID}@candle")') == 1
    assert pulled.value(f'LocalLLM.remove("{ID}@candle")') >= pulled.size
    assert ID not in [each["id"] for each in pulled.value("LocalLLM.list()")]
    with pytest.raises(ModelNotFound, match=f"Model '{ID}' not found in any backend"):
        pulled.value(f'LocalLLM.info("{ID}@candle")')
    with pytest.raises(ModelNotFound, match="Model 'wizard' not found in any backend"):
        pulled.value('LocalLLM.info("wizard")')


def test_a_damaged_model_is_told(pulled: Room) -> None:
    path = Path(pulled.value(f'LocalLLM.info("{ID}").path')).resolve()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(LLMSpellError, match="Failed to verify model: "):
        pulled.value(f'LocalLLM.verify("{ID}")')
    assert pulled.value(f'LocalLLM.remove("{ID}")') >= pulled.size


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        ('pull("a b")', InvalidModelSpec, "^Invalid model spec 'a b': "),
        ('pull("tinylama@candle")', LLMSpellError, "^Failed to pull model: .*tinylama"),
        ('pull("hf.co/owner/none")', LLMSpellError, "^Failed to pull model: "),
        ('pull("none:1b@ollama")', LLMSpellError, "^Failed to pull model: "),
        ('pull("openai/gpt-4")', ProviderError, "^Backend 'openai' not configured"),
        ("pull()", RequestError, "takes the name of a model"),
        ('pull("tinyllama", 7)', RequestError, "and a function"),
        ('list("metal")', RequestError, "not known"),
        ("list(7)", RequestError, "name of a backend"),
        ("info(7)", RequestError, "name of a model"),
        ("verify()", RequestError, "name of a model"),
        ("remove()", RequestError, "name of a model"),
        ('remove("smollm2")', LLMSpellError, "smollm2"),
        ('verify("wizard")', LLMSpellError, "wizard"),
    ],
)
def test_mistakes(room: Room, call: str, kind: type[LLMSpellError], says: str) -> None:
    with pytest.raises(kind, match=says):
        room.value(f"LocalLLM.{call}")


def test_a_script_can_catch_and_read_the_error(room: Room) -> None:
    room.hub.fault(f"/api/models/{REPOSITORY}", "status", status=404)
    good, said = room.run(
        'local good, said = pcall(LocalLLM.pull, "hf.co/owner/none"); return {good, said}'
    )
    assert good is False and "Failed to pull model: " in said


def test_after_a_callback_that_raised_the_same_pull_goes_well(room: Room) -> None:
    """The pull that it ended is not joined."""
    room.hub.fault(KEY, "drip", times=1, bytes_per_second=10_000)
    source = f"""
local good, said = pcall(LocalLLM.pull, "{ID}@candle", function() error("enough") end)
return {{good, said, LocalLLM.pull("{ID}@candle").status}}"""
    good, said, status = room.run(source)
    assert (good, status) == (False, "complete") and "enough" in said
    assert not room.runtime.engine.status()["jobs"]  # type: ignore[index]


# Ollama


def test_models_of_a_server(room: Room) -> None:
    found = room.value("LocalLLM.list()")
    assert (found[0]["id"], found[0]["backend"]) == ("llama3.1:8b", "ollama")
    assert [each["id"] for each in room.value('LocalLLM.list("ollama")')] == ["llama3.1:8b"]
    info = room.value('LocalLLM.info("llama3.1:8b@ollama")')
    assert (info["id"], info["backend"], info["size_bytes"]) == ("llama3.1:8b", "ollama", 1000)
    assert info == room.value('LocalLLM.info("llama3.1:8b")')
    with pytest.raises(ModelNotFound, match="Model 'none:1b' not found in any backend"):
        room.value('LocalLLM.info("none:1b@ollama")')


def test_a_pull_by_a_server(room: Room) -> None:
    last, seen = room.run(
        """local seen = {}
local r = LocalLLM.pull("qwen3:0.6b@ollama", function(p) seen[#seen + 1] = p end)
return {r, seen}"""
    )
    assert (last["status"], last["percent_complete"]) == ("complete", 100)
    assert last["bytes_downloaded"] == last["bytes_total"] == 500_300
    assert seen[-1]["status"] == "complete"
    assert room.value("LocalLLM.status().ollama.models") == 2
    assert room.value('LocalLLM.remove("qwen3:0.6b@ollama")') == 500_300
    assert room.value("LocalLLM.status().ollama.models") == 1
    assert not room.ollama.running


def test_a_server_that_fails_says_why(room: Room) -> None:
    room.ollama.fault("/api/pull", "error", lines=2, message="the disk is on fire")
    with pytest.raises(PullError, match=r"^Failed to pull model: .*the disk is on fire"):
        room.value('LocalLLM.pull("qwen3:0.6b@ollama")')


# What the administrator allows


def test_only_allowed_models_are_pulled(room: Room, tmp_path: Path) -> None:
    from llmspell_jupyter.config import administrator, loading

    (tmp_path / "llmspell_config.py").write_text('c.LLMSpell.allowed_models = ["smollm2*"]\n')
    policy = administrator.policy([str(tmp_path)])
    made = Runtime(room.runtime.engine)
    made.apply(loading.load("candle", environ={}, cwd=tmp_path, admin=policy))
    asked = len(room.hub.requests)
    for name in (
        f"{ID}@candle",
        "tinyllama",
        f"hf.co/{REPOSITORY}",
        REPOSITORY,
        f"hf.co/{REPOSITORY}:Q4_K_M",
    ):
        with pytest.raises(ProviderError, match="is not allowed here"):
            made.start_lua(f'LocalLLM.pull("{name}")', "cell[1]").result(timeout=60)
    assert len(room.hub.requests) == asked
    made.reset()
