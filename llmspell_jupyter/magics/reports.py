"""Reports as plain text, which every front end shows alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from llmspell_jupyter.config import profiles
from llmspell_jupyter.runtime.runtime import Runtime, Switch
from llmspell_jupyter.runtime.sizes import part_of, size, table
from llmspell_jupyter.types import Ready

_SHOWN_CHANGES = 12
_SHOWN_CALLS = 50


def profile(runtime: Runtime) -> str:
    """The profile in force in one line."""
    parts = [f"Profile {runtime.profile.name}"]
    name = runtime.default_provider()
    if provider := runtime.providers.get(name):
        parts.append(f"provider {name}")
        if provider.settings.default_model:
            parts.append(f"model {provider.settings.default_model}")
    else:
        parts.append("no provider: scripts run, agents do not")
    return " · ".join(parts)


def choices() -> str:
    """The names of all profiles."""
    return f"Available: {', '.join(profiles.names())}. Load one: %llmspell_profile NAME"


def switched(runtime: Runtime, switch: Switch) -> str:
    """The profile in force after a change, what changed, and what the user should be told."""
    lines = [profile(runtime)]
    shown = switch.changes[:_SHOWN_CHANGES]
    lines += [f"  {each}" for each in shown]
    if more := len(switch.changes) - len(shown):
        lines.append(f"  ... and {more} more: %llmspell_profile --show")
    if switch.lua_reset:
        lines.append("The sandbox level changed: Lua globals are forgotten.")
    return "\n".join([*lines, *switch.profile.notices])


def ready(model: Ready) -> str:
    """Where a model is loaded, and why there."""
    facts = model.metadata
    took = f" in {facts['load_ms'] / 1000:.1f} s" if facts.get("load_ms") else ""
    what = ", ".join(facts[key] for key in ("engine_backend", "quantization") if facts.get(key))
    why = f" · why: {facts['device_reason']}" if facts.get("device_reason") else ""
    return f"{facts['model']} · ready on {facts['device']}{took} ({what}){why}"


def unloaded(model: str, count: int) -> str:
    """How many processes of a model ended."""
    if count == 0:
        return f"{model} is not loaded."
    return f"{model} is unloaded." if count == 1 else f"{model} is unloaded, {count} processes."


def status(runtime: Runtime) -> str:
    """Profile, engine, workers and jobs."""
    lines = [profile(runtime)]
    engine = runtime.engine.status()
    if engine is None:
        return "\n".join([*lines, "Engine not running; it starts with the first answer."])
    minutes = (time.time() - engine["started"]) / 60
    lines.append(
        f"Engine {engine['version']} · process {engine['pid']} · up {minutes:.0f} min · "
        f"{engine['transport']} socket"
    )
    workers = engine["workers"]
    lines.append("" if workers else "No model is loaded.")
    if workers:
        lines.append(
            table(
                [
                    ("MODEL", "STATE", "DEVICE", "MEMORY", "PROCESS", "WAITING", "LEAVES", "WHY"),
                    *map(_worker, workers),
                ]
            )
        )
    pulls = [each for each in engine["jobs"] if "progress" in each]
    if answers := [each for each in engine["jobs"] if "progress" not in each]:
        heads = ("JOB", "FOR", "PHASE", "PLACE", "TOKENS", "TOKENS/S", "SECONDS")
        lines += ["", table([heads, *map(_job, answers)])]
    if pulls:
        pull_heads = ("FILES OF", "FOR", "PHASE", "DONE", "BYTES", "SPEED", "SECONDS", "JOB")
        lines += ["", table([pull_heads, *map(_pull, pulls)])]
    return "\n".join(lines)


def calls(rows: Sequence[dict[str, Any]]) -> str:
    """The last calls of models as a table."""
    if not rows:
        return "No model has been called from this notebook yet."
    heads: tuple[str, ...] = ("TIME", "MODEL", "BACKEND", "DEVICE", "PROMPT", "CACHED", "WRITTEN")
    heads += ("FIRST MS", "TOKENS/S", "LOAD MS", "SECONDS", "END")
    shown = table([heads, *map(_call, rows[-_SHOWN_CALLS:])])
    earlier = len(rows) - _SHOWN_CALLS
    return shown + (f"\n({earlier} earlier ones are not shown.)" if earlier > 0 else "")


def _worker(worker: dict[str, Any]) -> tuple[str, ...]:
    memory = worker.get("rss_bytes")
    why = worker.get("device_warning") or worker.get("device_reason", "")
    return (
        *(str(worker.get(column, "-")) for column in ("model", "state", "device")),
        "-" if memory is None else size(memory),
        *(str(worker.get(column, "-")) for column in ("pid", "waiting")),
        _leaves(worker),
        "; ".join(each for each in (why, worker.get("memory_note")) if each),
    )


def _leaves(worker: dict[str, Any]) -> str:
    """When a model leaves memory if nobody uses it."""
    if worker.get("pinned"):
        return "never"
    seconds = worker.get("leaves_in_seconds")
    if seconds is None:
        return "-"
    return f"in {seconds:.0f} s" if seconds < 90 else f"in {seconds / 60:.0f} min"


def _call(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("model", "engine_backend", "device", "prompt_tokens", "cached_tokens")
    numbers = ("completion_tokens", "time_to_first_token_ms", "tokens_per_second", "load_ms")
    cells = ["-" if row[name] is None else str(row[name]) for name in (*names, *numbers)]
    end = row["error"] or row["finish_reason"] or "-"
    return (f"{row['time']:%H:%M:%S}", *cells, f"{row['seconds']:.1f}", end)


def _job(job: dict[str, Any]) -> tuple[str, ...]:
    names = ("model", "client", "phase", "ahead", "tokens", "tokens_per_second", "seconds")
    shown = job | {"ahead": job["ahead"] or None}
    return tuple("-" if shown[name] is None else str(shown[name]) for name in names)


def _pull(job: dict[str, Any]) -> tuple[str, ...]:
    """A pull or a check, with its id: it can be watched and cancelled by that."""
    progress = job["progress"]
    percent, speed = progress["percent"], progress["bytes_per_second"]
    return (
        *(str(job[name]) for name in ("model", "client", "phase")),
        "-" if percent is None else f"{percent} %",
        part_of(progress["done"], progress["total"]),
        "-" if speed is None else f"{size(round(speed))}/s",
        *(str(job[name]) for name in ("seconds", "id")),
    )
