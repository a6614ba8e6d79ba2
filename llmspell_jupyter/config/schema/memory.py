"""``[runtime.memory]``: what agents remember across sessions."""

from __future__ import annotations

from llmspell_jupyter.config.schema._fields import Section, flag, text, whole

_DAY = 86_400


class ConsolidationSettings(Section):
    """Table ``[runtime.memory.consolidation]``."""

    provider_name: str | None = text(None, "Provider that sums up; None is the default provider.")
    batch_size: int = whole(10, 1, 10_000, "Entries that are summed up at a time.")
    max_concurrent: int = whole(3, 1, 1000, "Batches that are worked on at a time.")
    active_session_threshold_secs: int = whole(
        300, 0, _DAY, "Time since its last entry for which a session is left alone.", unit="seconds"
    )


class DaemonSettings(Section):
    """Table ``[runtime.memory.daemon]``."""

    enabled: bool = flag(True, "Entries are summed up in the background.")
    fast_interval_secs: int = whole(
        30, 1, _DAY, "Time between two rounds when much is waiting.", unit="seconds"
    )
    normal_interval_secs: int = whole(300, 1, _DAY, "The same when some is.", unit="seconds")
    slow_interval_secs: int = whole(600, 1, _DAY, "The same when little is.", unit="seconds")
    queue_threshold_fast: int = whole(10, 0, 1_000_000, "Waiting entries that count as much.")
    queue_threshold_slow: int = whole(3, 0, 1_000_000, "Waiting entries that count as little.")
    shutdown_max_wait_secs: int = whole(
        30, 0, 3600, "Time that a round in progress is given at the end.", unit="seconds"
    )
    health_check_interval_secs: int = whole(
        60, 1, _DAY, "Time between two looks at the background worker.", unit="seconds"
    )


class MemorySettings(Section):
    """Table ``[runtime.memory]``."""

    enabled: bool = flag(False, "Agents remember across sessions.")
    consolidation: ConsolidationSettings = ConsolidationSettings()
    daemon: DaemonSettings = DaemonSettings()
