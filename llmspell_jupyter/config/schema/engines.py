"""``[engines]``: the languages of scripts."""

from __future__ import annotations

from typing import Literal

from llmspell_jupyter.config.schema._fields import Section, flag, text, whole

SecurityLevel = Literal["Safe", "Privileged", "Unrestricted"]

_HOUR_MS = 3_600_000


class LuaSettings(Section):
    """Table ``[engines.lua]``."""

    stdlib: Literal["None", "Basic", "Standard", "All"] = text(
        "Standard", "How much of Lua's standard library scripts are given."
    )
    max_memory_bytes: int = whole(
        50_000_000,
        4_000_000,
        2**40,
        "Memory that one notebook's Lua state may take.",
        unit="bytes",
        acts=True,
    )
    enable_debug: bool = flag(False, "Scripts may be stepped through.")
    timeout_ms: int = whole(
        30_000, 1, 24 * _HOUR_MS, "Longest time that one call of a script may run.", unit="ms"
    )
    # Upstream leaves it open; here it is the level that the sandbox has.
    security_level: SecurityLevel = text("Safe", "How far the sandbox opens for scripts.")


class JavascriptSettings(Section):
    """Table ``[engines.javascript]``."""

    strict_mode: bool = flag(True, "Scripts run in strict mode.")
    max_heap_size_bytes: int = whole(
        50_000_000, 4_000_000, 2**40, "Memory that scripts may take.", unit="bytes"
    )
    enable_console: bool = flag(True, "Scripts have a console.")
    timeout_ms: int = whole(
        30_000, 1, 24 * _HOUR_MS, "Longest time that one call of a script may run.", unit="ms"
    )
    security_level: SecurityLevel = text("Safe", "How far the sandbox opens for scripts.")


class EngineSettings(Section):
    """Table ``[engines]``."""

    lua: LuaSettings = LuaSettings()
    javascript: JavascriptSettings = JavascriptSettings()
