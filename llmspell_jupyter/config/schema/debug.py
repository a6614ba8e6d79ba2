"""``[debug]``: what the program tells of itself."""

from __future__ import annotations

from typing import Literal

from llmspell_jupyter.config.schema._fields import Section, flag, place, table, text, whole, words
from llmspell_jupyter.config.schema.runtime import LogLevel


class DebugFileSettings(Section):
    """Table ``[debug.output.file]``."""

    path: str | None = place(None, "File to write to; None writes none.")
    append: bool = flag(True, "What stands in the file stays.")
    max_size: int = whole(
        10_485_760, 1024, 2**40, "Size from which a new file is begun.", unit="bytes"
    )
    max_files: int = whole(5, 1, 1000, "Files that are kept.")


class DebugBufferSettings(Section):
    """Table ``[debug.output.buffer]``."""

    enabled: bool = flag(True, "Entries are kept for scripts to read.")
    max_entries: int = whole(10_000, 1, 10_000_000, "Entries that are kept.")


class DebugOutputSettings(Section):
    """Table ``[debug.output]``."""

    stdout: bool = flag(True, "Entries are printed.")
    colored: bool = flag(True, "In colour.")
    format: Literal["text", "json", "pretty"] = text("text", "What an entry looks like.")
    file: DebugFileSettings = DebugFileSettings()
    buffer: DebugBufferSettings = DebugBufferSettings()


class ModuleFilterSettings(Section):
    """Table ``[debug.module_filters]``."""

    enabled: tuple[str, ...] = words((), "Modules whose entries are written; empty is all.")
    disabled: tuple[str, ...] = words((), "Modules whose entries are not.")
    levels: dict[str, LogLevel] = table("Level of single modules.")


class DebugPerformanceSettings(Section):
    """Table ``[debug.performance]``."""

    enabled: bool = flag(False, "Times are measured.")
    auto_report_interval: int = whole(
        0, 0, 86_400, "Time between two reports; 0 reports none.", unit="seconds"
    )
    include_children: bool = flag(True, "The time of a step holds that of its parts.")
    min_duration_ms: int = whole(1, 0, 86_400_000, "Shortest time that is reported.", unit="ms")


class StackTraceSettings(Section):
    """Table ``[debug.stack_trace]``."""

    enabled: bool = flag(False, "Entries carry the calls that led to them.")
    on_error: bool = flag(True, "Errors do in any case.")
    max_depth: int = whole(50, 1, 10_000, "Calls that are kept.")
    include_source: bool = flag(True, "With their source.")


class DebugSettings(Section):
    """Table ``[debug]``."""

    enabled: bool = flag(False, "The program tells what it does.")
    level: LogLevel = text("info", "Least severity that is written.")
    output: DebugOutputSettings = DebugOutputSettings()
    module_filters: ModuleFilterSettings = ModuleFilterSettings()
    performance: DebugPerformanceSettings = DebugPerformanceSettings()
    stack_trace: StackTraceSettings = StackTraceSettings()
