"""``LocalLLM``: the models on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmspell_jupyter.errors import LLMSpellError, ModelNotFound, RequestError
from llmspell_jupyter.models import spec, store
from llmspell_jupyter.runtime.exports import ScriptGlobal, script
from llmspell_jupyter.types import ModelInfo

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.runtime import Runtime


class LocalLLM(ScriptGlobal):
    """Lists and describes local models."""

    name = "LocalLLM"

    def __init__(self, runtime: Runtime):
        self._runtime = runtime

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
            for model in self._runtime.engine.models()
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
            found = store.choose(wanted, self._runtime.engine.models())
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

    def _candle_status(self) -> dict[str, Any]:
        try:
            models = self._runtime.engine.models()
            status = self._runtime.engine.status() or {}
        except LLMSpellError as error:
            return {"ready": False, "models": 0, "error": error.message}
        return {"ready": True, "models": len(models), "version": status.get("version")}

    def _is_loaded(self, model: ModelInfo) -> bool:
        workers = (self._runtime.engine.status() or {}).get("workers", [])
        return any(each["model"] == model.id and each["state"] == "ready" for each in workers)


def _count(parameters: int | None) -> str | None:
    """A number of parameters as people write it: ``135M``, ``1.1B``."""
    if parameters is None:
        return None
    if parameters < 999_500_000:
        return f"{parameters / 1e6:.3g}M"
    return f"{parameters / 1e9:.2g}B" if parameters < 10e9 else f"{parameters / 1e9:.3g}B"


GLOBAL = LocalLLM
