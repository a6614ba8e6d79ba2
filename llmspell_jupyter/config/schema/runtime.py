"""``[runtime]``: limits, security, state and sessions."""

from __future__ import annotations

from typing import Literal

from llmspell_jupyter.config.schema._fields import Section, flag, number, place, text, whole
from llmspell_jupyter.config.schema.memory import MemorySettings

LogLevel = Literal["trace", "debug", "info", "warn", "error", "off"]
Store = Literal["memory", "sqlite", "postgres"]

_DAY = 86_400


class SecuritySettings(Section):
    """Table ``[runtime.security]``."""

    allow_file_access: bool = flag(False, "Scripts may read and write files.")
    allow_network_access: bool = flag(True, "Scripts may use the network.")
    allow_process_spawn: bool = flag(False, "Scripts may start programs.")
    max_memory_bytes: int | None = whole(
        50_000_000, 1_000_000, 2**40, "Memory that a script and its tools may take.", unit="bytes"
    )
    max_execution_time_ms: int | None = whole(
        300_000, 1, 7 * _DAY * 1000, "Longest time that a script and its tools may run.", unit="ms"
    )


class BackupSettings(Section):
    """Table ``[runtime.state_persistence.backup]``."""

    # Upstream writes into the working folder.
    backup_dir: str | None = place(
        "${JUPYTER_DATA_DIR}/llmspell/backups", "Folder of the backups of state."
    )
    compression_enabled: bool = flag(True, "Backups are compressed.")
    compression_type: Literal["zstd", "gzip", "lz4", "none"] = text("zstd", "How, if they are.")
    compression_level: int = whole(3, 1, 22, "Effort of the compression; more is smaller.")
    incremental_enabled: bool = flag(True, "A backup holds what changed since the one before.")
    max_backups: int | None = whole(10, 1, 100_000, "Backups that are kept.")
    max_backup_age: int | None = whole(
        2_592_000, 1, 100 * 366 * _DAY, "Age at which a backup is deleted.", unit="seconds"
    )


class StateSettings(Section):
    """Table ``[runtime.state_persistence]``."""

    enabled: bool = flag(True, "Scripts may keep state.")
    backend_type: Store = text("memory", "Where state is kept.")
    migration_enabled: bool = flag(False, "State of an older schema is brought up to date.")
    backup_on_migration: bool = flag(True, "A backup is made before that.")
    backup_enabled: bool = flag(False, "State is backed up.")
    schema_directory: str | None = place(None, "Folder of the schemas of state.")
    max_state_size_bytes: int | None = whole(
        10_000_000, 1, 2**50, "Size of one value of state.", unit="bytes"
    )
    backup: BackupSettings = BackupSettings()


class SessionSettings(Section):
    """Table ``[runtime.sessions]``."""

    enabled: bool = flag(False, "Scripts may open sessions.")
    max_sessions: int = whole(100, 1, 1_000_000, "Sessions that may be open at a time.")
    max_artifacts_per_session: int = whole(1000, 1, 10_000_000, "Artifacts of one session.")
    artifact_compression_threshold: int = whole(
        10_240, 0, 2**40, "Size from which artifacts are compressed.", unit="bytes"
    )
    session_timeout_seconds: int = whole(
        3600, 1, 366 * _DAY, "Time after which an unused session is closed.", unit="seconds"
    )
    storage_backend: Store = text("memory", "Where sessions are kept.")


class RuntimeSettings(Section):
    """Table ``[runtime]``."""

    max_concurrent_scripts: int = whole(10, 1, 1000, "Scripts that run at a time.")
    # Upstream stops a script after 300 s; in a notebook the user sees it run and can stop it.
    script_timeout_seconds: float | None = number(
        None,
        0,
        _DAY,
        "Longest time that a cell may run; none by default.",
        unit="seconds",
        acts=True,
        above=True,
    )
    enable_streaming: bool = flag(True, "Answers are shown while they are written.")
    log_level: LogLevel = text("info", "Least severity that is logged.")
    security: SecuritySettings = SecuritySettings()
    state_persistence: StateSettings = StateSettings()
    sessions: SessionSettings = SessionSettings()
    memory: MemorySettings = MemorySettings()
