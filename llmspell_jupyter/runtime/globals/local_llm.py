"""``LocalLLM``: the models on this machine."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.errors import Interrupted, LLMSpellError, ModelNotFound, RequestError
from llmspell_jupyter.models import spec, store
from llmspell_jupyter.runtime.exports import ScriptGlobal, script
from llmspell_jupyter.runtime.host import Ask
from llmspell_jupyter.runtime.local_models import LocalModels
from llmspell_jupyter.types import Message, ModelInfo, Progress, Ready

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.runtime import Runtime

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
        table: dict[str, dict[str, Any]] = {
            "ollama": {"running": False, "models": 0, "error": "Not configured"},
            "candle": self._candle_status(),
        }
        chosen = table.get(spec.canonical(backend), {}) if isinstance(backend, str) else {}
        return {**table, **chosen}

    @script
    def list(self, backend: Any = None) -> Any:
        """``[{id, backend, size_bytes, quantization?, modified_at, bundled}]``.

        Takes ``"candle"``, ``"ollama"``, ``"all"`` or nothing.
        """
        wanted = spec.canonical(backend) if isinstance(backend, str) else backend or "all"
        if wanted not in ("all", *spec.BACKENDS.values()):
            raise RequestError(
                f"Backend {wanted!r} is not known.",
                hint=f'Write one of {", ".join(sorted(spec.BACKENDS))} or "all".',
            )
        if wanted == "ollama":
            return []
        return [
            {
                "id": model.id,
                "backend": model.backend,
                "size_bytes": model.size_bytes,
                "quantization": model.quantization,
                "modified_at": model.modified_at,
                "bundled": model.bundled,
            }
            for model in self._models.installed()
        ]

    @script
    def info(self, model: Any) -> dict[str, Any]:
        """Everything known of one model, named with or without ``@backend``.

        ``{id, backend, size_bytes, format, loaded, path, modified_at, bundled, architecture?,
        quantization?, parameter_count?, context_length?}``
        """
        if not isinstance(model, str):
            raise RequestError("LocalLLM.info takes the name of a model.")
        wanted = spec.parse(spec.split_provider(model)[1])
        try:
            found = store.choose(wanted, self._models.installed())
        except ModelNotFound as error:
            # Scripts look for this text.
            message = f"Model '{wanted.id}' not found in any backend"
            raise ModelNotFound(message, hint=error.hint, data=error.data) from None
        return {
            "id": found.id,
            "backend": found.backend,
            "size_bytes": found.size_bytes,
            "format": found.format,
            "loaded": self._is_loaded(found),
            "path": str(found.path),
            "modified_at": found.modified_at,
            "bundled": found.bundled,
            "architecture": found.architecture,
            "quantization": found.quantization,
            "parameter_count": _count(found.parameter_count),
            "context_length": found.context_length,
        }

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

    def _is_loaded(self, model: ModelInfo) -> bool:
        workers = (self._runtime.engine.status() or {}).get("workers", [])
        return any(each["model"] == model.id and each["state"] == "ready" for each in workers)


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


def _count(parameters: int | None) -> str | None:
    """A number of parameters as people write it: ``135M``, ``1.1B``."""
    if parameters is None:
        return None
    if parameters < 999_500_000:
        return f"{parameters / 1e6:.3g}M"
    return f"{parameters / 1e9:.2g}B" if parameters < 10e9 else f"{parameters / 1e9:.3g}B"


GLOBAL = LocalLLM
