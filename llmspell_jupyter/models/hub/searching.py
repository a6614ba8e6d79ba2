"""Models of the hub that can be run here, by words."""

from __future__ import annotations

from typing import Any

from llmspell_jupyter.models import spec
from llmspell_jupyter.models.hub import files, problems
from llmspell_jupyter.models.hub.api import Api
from llmspell_jupyter.models.hub.planning import license_of
from llmspell_jupyter.types import AvailableModel, Sources

#: Longest that a search may take.
SECONDS = 3.0

_EXPAND = (
    *("author", "downloads", "gated", "tags", "siblings", "pipeline_tag"),
    *("gguf", "safetensors", "config", "cardData", "library_name"),
)
_EMBED = frozenset({"feature-extraction", "sentence-similarity"})
_GENERATE = frozenset(
    {"text-generation", "text2text-generation", "translation", "summarization", "conversational"}
)


def search(text: str, sources: Sources, limit: int = 20) -> list[AvailableModel]:
    """Models whose names hold these words, the most fetched first, GGUF before safetensors.

    Args:
        text: Words.
        sources: Where to look.
        limit: How many at most.

    Raises:
        PullError: The hub does not answer well within 3 seconds, or no network may be asked.
    """
    if sources.offline:
        raise problems.offline("A search of the hub")
    api = Api(sources, SECONDS)
    found: dict[str, AvailableModel] = {}
    for kind in ("gguf", "safetensors"):
        query = {"search": text, "filter": kind, "sort": "downloads", "limit": limit}
        for info in api.models(query | {"expand": _EXPAND}):
            model = _available(info)
            if model is not None:
                found.setdefault(model.id, model)
    return list(found.values())[:limit]


def _available(info: Any) -> AvailableModel | None:
    """A model that could be run here; None for adapters, pictures, sounds and pickle."""
    name = info.id
    if not isinstance(name, str) or not spec.is_repository(name) or "/" not in name:
        return None
    paths = [each.rfilename for each in info.siblings or () if isinstance(each.rfilename, str)]
    kinds = files.quantizations(paths)
    if not files.gguf_models(paths):
        try:
            files.choose_safetensors(name, paths)
        except Exception:  # Whatever it lacks, it is not one for us.
            return None
    task = info.pipeline_tag
    if task is not None and task not in _EMBED | _GENERATE:
        return None
    about = info.gguf if isinstance(info.gguf, dict) else {}
    config = info.config if isinstance(info.config, dict) else {}
    weights = info.safetensors.total if info.safetensors is not None else None
    return AvailableModel(
        id=name,
        backend="candle",
        origin="hub",
        repository=name,
        quantizations=kinds,
        parameter_count=_count(about.get("total")) or _count(weights),
        license=license_of(info),
        context_length=_count(about.get("context_length")),
        architecture=_word(about.get("architecture")) or _word(config.get("model_type")),
        tasks=(("embed",) if task in _EMBED else ("generate",)) if task else (),
        gated=bool(info.gated),
        downloads=_count(info.downloads),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value.isprintable() and value else None
