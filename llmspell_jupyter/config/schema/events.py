"""``[hooks]`` and ``[events]``: what happens when something happens."""

from __future__ import annotations

from llmspell_jupyter.config.schema._fields import Section, flag, number, place, text, whole, words


class HookSettings(Section):
    """Table ``[hooks]``."""

    enabled: bool = flag(False, "Scripts may register hooks.")
    rate_limit_per_minute: int = whole(100, 1, 1_000_000, "Calls of one hook.", unit="calls")
    timeout_ms: int = whole(5000, 1, 3_600_000, "Longest time for one call.", unit="ms")
    circuit_breaker_threshold: float = number(
        0.01, 0, 1, "Share of failing calls from which a hook is switched off."
    )


class FilterSettings(Section):
    """Table ``[events.filtering]``."""

    include_types: tuple[str, ...] = words(("*",), "Types that are passed on; * is any text.")
    exclude_types: tuple[str, ...] = words((), "Types that are not.")
    include_components: tuple[str, ...] = words(("*",), "Components whose events are passed on.")
    exclude_components: tuple[str, ...] = words((), "Components whose events are not.")


class ExportSettings(Section):
    """Table ``[events.export]``."""

    stdout: bool = flag(False, "Events are printed.")
    file: str | None = place(None, "File to which events are appended.")
    webhook: str | None = text(None, "Address to which events are sent.")
    pretty_json: bool = flag(False, "Events are indented.")


class EventSettings(Section):
    """Table ``[events]``."""

    enabled: bool = flag(True, "Events are passed on.")
    buffer_size: int = whole(10_000, 1, 10_000_000, "Events that may wait.")
    emit_timing_events: bool = flag(True, "How long things took is an event.")
    emit_state_events: bool = flag(False, "Changes of state are events.")
    emit_debug_events: bool = flag(False, "Steps of the program are events.")
    max_events_per_second: int | None = whole(None, 1, 10_000_000, "Events that are passed on.")
    filtering: FilterSettings = FilterSettings()
    export: ExportSettings = ExportSettings()
