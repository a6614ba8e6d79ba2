"""Which keys act. A key joins this list with the code that reads it and with its proof here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmspell_jupyter.agents.agent import AgentSettings
from llmspell_jupyter.config import environment, leaves, loading, paths
from llmspell_jupyter.errors import ProviderError, ScriptMemory, ScriptTimeout
from llmspell_jupyter.magics import live
from llmspell_jupyter.providers import Turn, configured
from llmspell_jupyter.runtime.runtime import Runtime
from llmspell_jupyter.types import GenerationRequest
from tests.config.conftest import Machine


class Engine:
    """Keeps what it is asked."""

    asked: GenerationRequest

    def generate(self, request: GenerationRequest) -> Any:
        self.asked = request
        return self

    def within(self, seconds: float) -> Iterator[Any]:
        self.limit = seconds
        return iter(())

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        pass


def _request(**settings: Any) -> GenerationRequest:
    lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
    loaded = _given(f"[providers.candle]\n{lines}\n")
    engine: Any = Engine()
    configured(loaded.configuration, engine)["candle"].generate(Turn("m", ()))
    return engine.asked


_machine: Machine


def _given(text: str) -> loading.Loaded:
    return _machine.load(config_file=_machine.file(text))


def _runtime(text: str, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    engine: Any = Engine()
    monkeypatch.setenv("LLMSPELL_CONFIG", str(_machine.file(text)))
    return Runtime(engine)


def _script(runtime: Runtime, source: str) -> Any:
    try:
        return runtime.start_lua(source, "cell[1]").result(timeout=30)
    finally:
        runtime.reset()


def _default_engine(patch: pytest.MonkeyPatch) -> None:
    assert (
        _script(_runtime('default_engine = "lua"', patch), "return Config.getDefaultEngine()")
        == "lua"
    )


def _max_memory(patch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScriptMemory):
        _script(
            _runtime("[engines.lua]\nmax_memory_bytes = 8_000_000", patch),
            "local t = {} for i = 1, 1e6 do t[i] = 'x' .. i end",
        )


def _default_provider(patch: pytest.MonkeyPatch) -> None:
    runtime = _runtime(
        'extends = "candle"\n[providers]\ndefault_provider = "other"\n[providers.other]\ntype = "candle"\nmodel = "m"',
        patch,
    )
    assert runtime.make_agent(AgentSettings()).provider.name == "other"


def _provider_type(patch: pytest.MonkeyPatch) -> None:
    engine: Any = Engine()
    found = configured(
        _given('[providers.a]\ntype = "candle"\n[providers.b]\ntype = "openai"').configuration,
        engine,
    )
    assert found["a"].generate(Turn("m", ())) is engine
    with pytest.raises(ProviderError, match="type 'openai'"):
        found["b"].generate(Turn("m", ()))


def _enabled(patch: pytest.MonkeyPatch) -> None:
    assert configured(_given("[providers.candle]\nenabled = false").configuration, Engine()) == {}  # type: ignore[arg-type]


def _default_model(patch: pytest.MonkeyPatch) -> None:
    assert (
        _runtime('[providers.candle]\ndefault_model = "mine:1b"', patch)
        .make_agent(AgentSettings())
        .model
        == "mine:1b"
    )


def _timeout(patch: pytest.MonkeyPatch) -> None:
    runtime = _runtime("[providers.candle]\nmodel = 'm'\ntimeout_seconds = 7", patch)
    with pytest.raises(Exception, match="stopped"):
        list(runtime.make_agent(AgentSettings()).ask("x"))
    assert runtime.engine.limit == 7  # type: ignore[attr-defined]


def _script_timeout(patch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScriptTimeout):
        _script(_runtime("[runtime]\nscript_timeout_seconds = 0.2", patch), "while true do end")


def _engine(
    key: str, value: str, read: Callable[[], object], expected: object
) -> Callable[[pytest.MonkeyPatch], None]:
    def proof(patch: pytest.MonkeyPatch) -> None:
        table, _, name = key.rpartition(".")
        environment.use(_given(f"[{table}]\n{name} = {value}").values)
        told = environment.for_engine()
        environment.use({})
        # The engine's process reads them there.
        patch.setattr(environment.os, "environ", told)
        assert read() == expected

    return proof


def _hub_token(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("MINE", "hf_secret")
    environment.use(_given('[models]\nhub_token = "${MINE}"').values)
    sources = environment.sources()
    assert "hf_secret" not in repr(environment.for_engine().get("LLMSPELL_MODELS_HUB_TOKEN"))
    environment.use({})
    assert sources.token == "hf_secret" and "hf_secret" not in repr(sources)


def _auto_profile(patch: pytest.MonkeyPatch) -> None:
    settings = AgentSettings(name="a", provider="candle", model="echo")
    with pytest.raises(ProviderError, match="not configured"):
        _runtime('extends = "minimal"', patch).make_agent(settings)
    runtime = _runtime('extends = "minimal"\nauto_profile = true', patch)
    assert runtime.make_agent(settings).provider.name == "candle"


def _render(patch: pytest.MonkeyPatch) -> None:
    assert live.wanted(_given('extends = "candle"'))
    assert not live.wanted(_given('[notebook]\nrender = "plain"'))


PROOFS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "default_engine": _default_engine,
    "auto_profile": _auto_profile,
    "engines.lua.max_memory_bytes": _max_memory,
    "providers.default_provider": _default_provider,
    "providers.*.provider_type": _provider_type,
    "providers.*.enabled": _enabled,
    "providers.*.default_model": _default_model,
    "providers.*.temperature": lambda patch: _is(_request(temperature=0.25).sampling.temperature, 0.25),
    "providers.*.max_tokens": lambda patch: _is(_request(max_tokens=9).max_tokens, 9),
    "providers.*.timeout_seconds": _timeout,
    "providers.*.model_directory": lambda patch: _is(_request(model_directory='"/m"').lookup.folders, ("/m",)),
    "providers.*.device": lambda patch: _is(_request(device='"metal"').options.device, "metal"),
    "providers.*.max_concurrent": lambda patch: _is(_request(max_concurrent=3).options.max_concurrent, 3),
    "providers.*.default_quantization": lambda patch: _is(_request(default_quantization='"Q8_0"').lookup.quantization, "Q8_0"),
    "providers.*.cpu_threads": lambda patch: _is(_request(cpu_threads=3).options.cpu_threads, 3),
    "providers.*.context_size": lambda patch: _is(_request(context_size=77).options.context_size, 77),
    "providers.*.batch_size": lambda patch: _is(_request(batch_size=33).options.batch_size, 33),
    "providers.*.use_flash_attention": lambda patch: _is(_request(use_flash_attention="false").options.flash_attention, False),
    "providers.*.gpu_layers": lambda patch: _is(_request(gpu_layers=7).options.gpu_layers, 7),
    "providers.*.cache_type": lambda patch: _is(_request(cache_type='"q8_0"').options.cache_type, "q8_0"),
    "providers.*.dtype": lambda patch: _is(_request(dtype='"int8"').options.dtype, "int8"),
    "runtime.script_timeout_seconds": _script_timeout,
    "engine.idle_seconds": _engine("engine.idle_seconds", "12.5", lambda: environment.idle_seconds(), 12.5),
    "engine.transport": _engine("engine.transport", '"tcp"', lambda: environment.transport(), "tcp"),
    "engine.queue_limit": _engine("engine.queue_limit", "5", lambda: environment.queue_limit(), 5),
    "engine.client_queue_limit": _engine("engine.client_queue_limit", "6", lambda: environment.client_queue_limit(), 6),
    "engine.memory_limit_bytes": _engine("engine.memory_limit_bytes", "7_000_000", lambda: environment.memory_limit_bytes(), 7_000_000),
    "engine.model_ttl_seconds": _engine("engine.model_ttl_seconds", "1.5", lambda: environment.model_ttl_seconds(), 1.5),
    "models.path": _engine("models.path", '["/m/a", "/m/b"]', lambda: [str(each) for each in paths.model_folders()[:2]], ["/m/a", "/m/b"]),
    "models.pinned": _engine("models.pinned", '["smollm2:135m", "echo"]', lambda: environment.pinned(), ("smollm2:135m", "echo")),
    "models.hub_cache": _engine("models.hub_cache", '"/c"', lambda: str(environment.hub_caches()[0]), "/c"),
    "models.shared": _engine("models.shared", '["/s/a", "/s/b"]', lambda: [str(each) for each in environment.hub_caches()[1:]], ["/s/a", "/s/b"]),
    "models.catalogs": _engine("models.catalogs", '["/c/a.toml"]', lambda: [str(each) for each in environment.catalogs()], ["/c/a.toml"]),
    "models.ollama_store": _engine("models.ollama_store", '"/o"', lambda: str(environment.ollama_store()), "/o"),
    "models.hub_endpoint": _engine("models.hub_endpoint", '"http://hub.test:1/"', lambda: environment.sources().endpoint, "http://hub.test:1"),
    "models.hub_token": _hub_token,
    "models.offline": _engine("models.offline", "true", lambda: environment.sources().offline, True),
    "models.download_hosts": _engine("models.download_hosts", '["a.test", "*.b.test"]', lambda: environment.sources().hosts, ("a.test", "*.b.test")),
    "models.download_bytes_per_second": _engine("models.download_bytes_per_second", "5_000", lambda: environment.sources().bytes_per_second, 5_000),
    "notebook.render": _render,
}  # fmt: skip


def _is(value: object, expected: object) -> None:
    assert value == expected


def test_these_keys_act_and_no_others_claim_to() -> None:
    assert list(PROOFS) == [key for key, leaf in leaves.leaves().items() if leaf.in_force]
    assert set(leaves.pending_keys()) == leaves.leaves().keys() - PROOFS.keys()


@pytest.mark.parametrize("key", PROOFS)
def test_a_key_in_force_acts(machine: Machine, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    global _machine
    _machine = machine
    monkeypatch.chdir(machine.work)
    PROOFS[key](monkeypatch)


def test_a_folder_of_models_may_begin_at_home_or_with_a_variable(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    global _machine
    _machine = machine
    monkeypatch.setenv("MODELS", "/big/disk")
    assert _request(model_directory='"${MODELS}/x"').lookup.folders == ("/big/disk/x",)


def test_a_variable_goes_before_what_an_engine_is_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.file("[engine]\nqueue_limit = 5\nidle_seconds = 6\n", "llmspell.toml")
    machine.environ["LLMSPELL_ENGINE_QUEUE_LIMIT"] = "9"
    monkeypatch.setenv("LLMSPELL_ENGINE_QUEUE_LIMIT", "9")
    environment.use(machine.load().values)
    told = environment.for_engine()
    environment.use({})
    assert (told["LLMSPELL_ENGINE_QUEUE_LIMIT"], told["LLMSPELL_ENGINE_IDLE_SECONDS"]) == ("9", "6")
