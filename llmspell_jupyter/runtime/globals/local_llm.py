"""``LocalLLM``: the models on this machine."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.engine.messages import model_to_wire
from llmspell_jupyter.errors import (
    Interrupted,
    InvalidModelSpec,
    LLMSpellError,
    ModelError,
    ModelNotFound,
    PullError,
    RequestError,
    Unreachable,
)
from llmspell_jupyter.models import spec
from llmspell_jupyter.providers import named
from llmspell_jupyter.runtime import model_texts
from llmspell_jupyter.runtime.exports import ScriptGlobal, script
from llmspell_jupyter.runtime.host import Ask
from llmspell_jupyter.runtime.local_models import LocalModels
from llmspell_jupyter.types import Message, Progress, PullPhase, PullProgress, Ready

if TYPE_CHECKING:
    from llmspell_jupyter.engine.client import Pull
    from llmspell_jupyter.runtime.runtime import Runtime

# The class below has a method of that name.
list_type = list

_ROLES = ("system", "user", "assistant")


class LocalLLM(ScriptGlobal):
    """Lists, describes, loads and asks local models."""

    name = "LocalLLM"

    def __init__(self, runtime: Runtime):
        self._runtime = runtime
        self._models = LocalModels(runtime)

    @script
    def status(self, backend: Any = None) -> dict[str, Any]:
        """``{ollama = {running, models, error?}, candle = {ready, models, version?, error?}}``.

        With the name of a backend its fields stand at the top level, too. Never raises.
        """
        table = {"ollama": self._ollama_status(), "candle": self._candle_status()}
        chosen = table.get(spec.canonical(backend), {}) if isinstance(backend, str) else {}
        return {**table, **chosen}

    @script
    def list(self, backend: Any = None) -> Any:
        """``[{id, backend, size_bytes, quantization?, modified_at, bundled}]``.

        Takes ``"candle"``, ``"ollama"``, ``"all"`` or nothing.
        """
        if not isinstance(backend, str | None):
            raise RequestError(
                "LocalLLM.list takes the name of a backend.",
                hint=f'Write one of {", ".join(sorted(spec.BACKENDS))} or "all".',
            )
        try:
            return [_listed(model_to_wire(each)) for each in self._models.listed(backend)]
        except Unreachable:
            return []  # Scripts take a server that does not run for one without models.

    @script
    def info(self, model: Any) -> dict[str, Any]:
        """Everything known of one model, named with or without ``@backend``.

        ``{id, backend, size_bytes, format, loaded, path, modified_at, bundled, architecture?,
        quantization?, parameter_count?, context_length?}``
        """
        if not isinstance(model, str):
            raise RequestError("LocalLLM.info takes the name of a model.")
        try:
            facts = self._models.info(model)
        except ModelNotFound as error:
            if not self._models.has_ollama or "@" in model:
                raise _nowhere(model, error) from None
            try:
                facts = self._models.info(f"{model}@ollama")
            except (ModelNotFound, PullError):
                raise _nowhere(model, error) from None
        names: tuple[str, ...] = (
            "id",
            "backend",
            "size_bytes",
            "format",
            "loaded",
            "path",
            "modified_at",
        )
        names += ("architecture", "quantization", "context_length", "store", "repository")
        names += ("revision", "license")
        return {name: facts.get(name) for name in names} | {
            "bundled": facts.get("store") == "bundled",
            "parameter_count": model_texts.parameters(facts.get("parameter_count")),
        }

    @script
    def available(self, backend: Any = None, search: Any = None) -> list_type[dict[str, Any]]:
        """Models that can be had: ``[{id, backend, origin, size_bytes?, license?, ...}]``.

        Takes ``"candle"``, ``"ollama"``, ``"all"`` or nothing, and words to look for.
        """
        if not isinstance(backend, str | None) or not isinstance(search, str | None):
            raise RequestError("LocalLLM.available takes the name of a backend and words.")
        found = self._models.available(backend, search or "").models
        return [asdict(each) for each in found]

    @script
    def pull(self, model: Any, on_progress: Any = None) -> Generator[Ask, Any, dict[str, Any]]:
        """Fetch a model: ``{model_id, status, percent_complete, bytes_downloaded, bytes_total}``.

        ``on_progress({status, percent?, bytes_downloaded, bytes_total?, ...})`` is called
        meanwhile. A name without backend is one of candle, unless the profile's default provider
        is an Ollama server.
        """
        if not isinstance(model, str) or isinstance(
            on_progress, str | int | float | bool | list_type | dict
        ):
            raise RequestError("LocalLLM.pull takes the name of a model and a function.")
        try:
            pull = self._models.pull(model)
        except InvalidModelSpec as error:
            # Scripts look for this text.
            raise InvalidModelSpec(
                f"Invalid model spec '{model}': {error.message}", hint=error.hint, data=error.data
            ) from None
        return (yield from self._follow(pull, on_progress, "Failed to pull model"))

    @script
    def verify(self, model: Any, on_progress: Any = None) -> Generator[Ask, Any, dict[str, Any]]:
        """Compare a model's bytes with what was published; as ``pull``."""
        name = _needed("verify", model)
        pull = self._models.verify(name)
        return (yield from self._follow(pull, on_progress, "Failed to verify model"))

    @script
    def remove(self, model: Any) -> int:
        """Delete a model that was pulled; the bytes that are free now."""
        return self._models.remove(_needed("remove", model))

    @script
    def load(self, model: Any, on_progress: Any = None) -> Generator[Ask, Any, dict[str, Any]]:
        """Get a model ready; its metadata: ``{model, device, device_reason, load_ms, ...}``.

        ``on_progress({phase, percent?})`` is called meanwhile. Without a model it is the
        profile's.
        """
        name = _name("load", model)
        if isinstance(on_progress, str | int | float | bool | list | dict):
            raise RequestError("LocalLLM.load takes a model and a function.")
        ready: Ready | None = None
        with self._models.loading(name) as parts:
            for part in parts:
                if isinstance(part, Ready):
                    ready = part
                elif isinstance(part, Progress) and on_progress is not None:
                    percent = {} if part.percent is None else {"percent": part.percent}
                    yield Ask(on_progress, ({"phase": str(part.phase), **percent},))
        if ready is None:
            raise Interrupted("The load was given up.")
        return ready.metadata

    @script
    def unload(self, model: Any, options: Any = None) -> int:
        """End the processes that hold a model, and give their memory back; how many there were.

        A model that works stays and is an error, unless ``options`` is ``{force = true}``.
        """
        name = _name("unload", model)
        if name is None or not isinstance(options, dict | None) or set(options or ()) - {"force"}:
            raise RequestError(
                "LocalLLM.unload takes the name of a model and a table with force.",
                hint='Write: LocalLLM.unload("smollm2:135m", {force = true})',
            )
        return self._models.unload(name, force=bool((options or {}).get("force")))

    @script
    def count(self, said: Any, model: Any = None) -> int:
        """Tokens of a text, or of a list of ``{role, content}`` as the model reads it.

        Without a model it is the profile's.
        """
        return len(self._models.count(_said(said), _name("count", model)).ids)

    @script
    def embed(self, texts: Any, model: Any = None) -> Any:
        """The vector of a text, or a list of vectors for a list of texts; each of length 1."""
        wanted = [texts] if isinstance(texts, str) else texts
        if not isinstance(wanted, list) or not all(isinstance(each, str) for each in wanted):
            raise RequestError(
                "LocalLLM.embed takes a text or a list of texts.",
                hint='Write: LocalLLM.embed({"one text", "another"}, "all-minilm-l6-v2")',
            )
        vectors = self._models.embed(wanted, _name("embed", model)).vectors
        return list(vectors[0]) if isinstance(texts, str) else [list(each) for each in vectors]

    def _candle_status(self) -> dict[str, Any]:
        try:
            models = self._models.installed()
            status = self._runtime.engine.status() or {}
        except LLMSpellError as error:
            return {"ready": False, "models": 0, "error": error.message}
        return {"ready": True, "models": len(models), "version": status.get("version")}

    def _ollama_status(self) -> dict[str, Any]:
        if not self._models.has_ollama:
            return {"running": False, "models": 0, "error": "Not configured"}
        try:
            server = self._models.ollama()
        except LLMSpellError as error:
            return {"running": False, "models": 0, "error": error.message}
        facts = {"running": server["running"], "models": len(server["models"])}
        return facts | {name: server[name] for name in ("version", "error") if server[name]}

    def _follow(
        self, pull: Pull, on_progress: Any, failed: str
    ) -> Generator[Ask, Any, dict[str, Any]]:
        done: PullProgress | None = None
        try:
            with self._models.watching(pull) as steps:
                for step in steps:
                    done = step
                    if on_progress is not None:
                        yield Ask(on_progress, (model_texts.progress_facts(step),))
        except (PullError, ModelError) as error:
            # Scripts look for this text.
            raise type(error)(
                f"{failed}: {error.message}", hint=error.hint, data=error.data
            ) from None
        if done is None or done.phase is not PullPhase.COMPLETE:
            raise Interrupted("Stopped; what has come is kept.")
        return model_texts.progress_facts(done)


def _needed(function: str, model: Any) -> str:
    name = _name(function, model)
    if name is None:
        raise RequestError(f"LocalLLM.{function} takes the name of a model.")
    return name


def _listed(model: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "backend", "size_bytes", "quantization", "modified_at")
    facts = {name: model.get(name) for name in names}
    return facts | {"bundled": model.get("store") == "bundled"}


def _nowhere(model: str, error: ModelNotFound) -> ModelNotFound:
    # Scripts look for this text.
    name = named(model)[1]
    message = f"Model '{name}' not found in any backend"
    return ModelNotFound(message, hint=error.hint, data=error.data)


def _name(function: str, model: Any) -> str | None:
    if model is not None and not isinstance(model, str):
        raise RequestError(f"LocalLLM.{function} takes the name of a model.")
    return model


def _said(given: Any) -> str | list[Message]:
    if isinstance(given, str):
        return given
    if isinstance(given, list) and all(
        isinstance(each, dict)
        and each.get("role") in _ROLES
        and isinstance(each.get("content"), str)
        for each in given
    ):
        return [Message(each["role"], each["content"]) for each in given]
    raise RequestError(
        "LocalLLM.count takes a text, or a list of messages with role and content.",
        hint='Write: LocalLLM.count({{role = "user", content = "Hello."}}, "smollm2:135m")',
    )


GLOBAL = LocalLLM
