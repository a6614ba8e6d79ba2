"""What notebooks and terminals say of models, as plain text.

Names, titles and licences come from files and servers: control characters in them are shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from llmspell_jupyter.config.escaping import printable
from llmspell_jupyter.models.lock import Lock
from llmspell_jupyter.runtime.sizes import size, table
from llmspell_jupyter.types import Availability, AvailableModel, ModelInfo, PullProgress

#: Where people look for models, at the foot of the help of a pull.
LIBRARIES = """Browse models online:
  Ollama:  https://ollama.com/library
  Candle:  https://huggingface.co/models?pipeline_tag=text-generation"""

#: What a pull takes.
SPECS = """A model is named model[:variant][@backend]:
  a name of the catalog   tinyllama:Q4_K_M@candle
  a repository            hf.co/TheBloke/phi-2-GGUF:Q4_K_M, or google/flan-t5-small
  a model of Ollama's     llama3.1:8b@ollama"""

_WIDEST = 60


def installed(found: Sequence[ModelInfo], loaded: Collection[str] = ()) -> str:
    """Models as a table; what to type when there are none."""
    if not found:
        return 'No model is on this machine. Type: %pip install "llmspell-jupyter[demo]"'
    rows = [("MODEL", "BACKEND", "SIZE", "QUANTIZATION", "LICENSE", "STORE", "STATE")]
    rows += [
        (
            _shown(each.id),
            each.backend,
            size(each.size_bytes),
            _shown(each.quantization or "-"),
            _shown(each.license or "-"),
            each.store,
            ("loaded" if each.id in loaded else "") if each.architecture else "unreadable",
        )
        for each in found
    ]
    return table(rows)


def available(found: Availability) -> str:
    """Models that can be had as a table, and what could not be asked."""
    rows = [("MODEL", "BACKEND", "SIZE", "PARAMETERS", "QUANTIZATION", "LICENSE", "FROM", "STATE")]
    rows += [
        (
            _shown(each.id),
            each.backend,
            "-" if each.size_bytes is None else size(each.size_bytes),
            parameters(each.parameter_count) or "-",
            _shown(" ".join(each.quantizations[:3]) or "-"),
            _shown(each.license or "-"),
            each.origin,
            _state(each),
        )
        for each in found.models
    ]
    lines = [table(rows)] if found.models else ["No model was found."]
    notes = [f"({_shown(each, 300)})" for each in found.notes]
    return "\n".join([*lines, *notes, "Fetch one: %model_pull MODEL"])


def info(facts: Mapping[str, Any]) -> str:
    """Everything known of a model, a line each."""
    quantity = facts.get("size_bytes")
    shown = dict(facts) | {
        "size": None if quantity is None else f"{size(quantity)} ({quantity:,} bytes)",
        "parameters": parameters(facts.get("parameter_count")),
        "loaded": "yes" if facts.get("loaded") else "no",
    }
    names: tuple[str, ...] = (
        "id",
        "backend",
        "format",
        "architecture",
        "quantization",
        "size",
        "parameters",
    )
    names += ("context_length", "license", "store", "repository", "revision", "loaded", "path")
    width = max(map(len, names))
    return "\n".join(
        f"{name.replace('_', ' '):<{width}}  {_shown(str(shown[name]), 300)}"
        for name in names
        if shown.get(name) not in (None, "")
    )


def pulled(done: PullProgress, *, plain: bool = False, place: str = "") -> str:
    """A pull that is over in one line, with what to type next.

    Args:
        done: Its last progress.
        plain: Leave out what is another in each run.
        place: Where scripts are written, such as ``in a notebook``; empty is here.
    """
    facts = done.metadata
    here = facts.get("bytes") or done.total or done.done
    came = facts.get("downloaded", here)
    seconds = facts.get("seconds")
    took = f" in {seconds:.1f} s" if seconds is not None else ""
    how = f"{size(came)} fetched{took}" if came else "was here already"
    what = f"{size(here)}" if plain else f"{size(here)}, {how}"
    if facts.get("backend") == "ollama":
        name = f"{_shown(done.model).removesuffix('@ollama')}@ollama"
        return f"{name} is ready: {what}. Ollama's server has it. Next: %model_info {name}"
    following = f'Agent.builder():model("{_shown(done.model)}")'
    where = f", {place}" if place else ""
    return f"{_shown(done.model)} is ready: {what}. Next{where}: {following}"


def left(model: str, job: str, again: str) -> str:
    """A pull that nobody waits for.

    Args:
        model: What it was called.
        job: Its job in the engine.
        again: Line that waits for it.
    """
    return (
        f"{_shown(model)} is fetched in the background, job {job}.\n"
        f"How far it is: %llmspell_status. To watch it, or to stop it with Ctrl-C: {again}"
    )


def verified(done: PullProgress) -> str:
    """A check that found nothing wrong."""
    count = len(done.files)
    files = f"{count} {'file' if count == 1 else 'files'}, " if count else ""
    note = f" {_shown(done.note, 300)}" if done.note else ""
    checked = size(done.total or done.done)
    return f"{_shown(done.model)} is whole: {files}{checked} checked.{note}"


def removed(name: str, freed: int) -> str:
    """What a removal freed."""
    return f"{name} is removed; {size(freed)} are free."


def garbage(found: Sequence[Mapping[str, Any]], *, dry_run: bool, command: str) -> str:
    """What no model needs."""
    if not found:
        return "Nothing lies about that no model needs."
    parts = []
    if ours := [each for each in found if not each.get("kept")]:
        total = size(sum(each["bytes"] for each in ours))
        end = f"{total} could be freed: {command}" if dry_run else f"{total} are free."
        parts += [_garbage(ours), end]
    if kept := [each for each in found if each.get("kept")]:
        total = size(sum(each["bytes"] for each in kept))
        parts += [f"Not removed, {total}:", _garbage(kept)]
    return "\n".join(parts)


def _garbage(found: Sequence[Mapping[str, Any]]) -> str:
    rows = [("SIZE", "PATH", "WHY")]
    rows += [
        # What to type is a part of why.
        (size(each["bytes"]), _shown(each["path"], 300), _shown(each["why"], 600))
        for each in found
    ]
    return table(rows)


def locked(made: Lock, file: str) -> str:
    """What was written into a lock file."""
    names = ", ".join(each.spec for each in made.models)
    return f"{file} is written: {names}."


def agrees(notes: Sequence[str], file: str) -> str:
    """That the models here are those of a lock file."""
    return "\n".join([f"All models are those of {file}.", *(f"  note: {each}" for each in notes)])


def status(facts: Mapping[str, Any]) -> str:
    """Both backends, a line each."""
    candle, ollama = facts["candle"], facts["ollama"]
    own = f"candle: {'ready' if candle['ready'] else 'not ready'}, {candle['models']} models"
    server = "running" if ollama["running"] else "not running"
    return "\n".join(
        _shown(f"{line}{_more(each)}", 300)
        for line, each in (
            (own, candle),
            (f"ollama: {server}, {ollama['models']} models", ollama),
        )
    )


def progress_facts(step: PullProgress) -> dict[str, Any]:
    """A step of a pull as scripts and programs see it."""
    return {
        "model_id": step.model,
        "status": str(step.phase),
        "percent": step.percent,
        "percent_complete": 100 if step.phase == "complete" else step.percent or 0,
        "bytes_downloaded": step.done,
        "bytes_total": step.total,
        "bytes_per_second": step.bytes_per_second,
        "seconds_left": step.seconds_left,
        "note": step.note or None,
        "files": [dataclasses.asdict(each) for each in step.files],
    }


def parameters(count: int | None) -> str | None:
    """A number of parameters as people write it: ``135M``, ``1.1B``."""
    if count is None:
        return None
    if count < 999_500_000:
        return f"{count / 1e6:.3g}M"
    return f"{count / 1e9:.2g}B" if count < 10e9 else f"{count / 1e9:.3g}B"


def _more(facts: Mapping[str, Any]) -> str:
    parts = [f"version {facts['version']}"] if facts.get("version") else []
    parts += [facts["error"]] if facts.get("error") else []
    return "".join(f" · {each}" for each in parts)


def _state(model: AvailableModel) -> str:
    return "installed" if model.installed else "gated" if model.gated else ""


def _shown(text: str, most: int = _WIDEST) -> str:
    return printable(text, most)
