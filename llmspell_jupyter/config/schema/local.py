"""What this package has of its own: its engine, its model store, its place in a notebook."""

from __future__ import annotations

from typing import Literal

from llmspell_jupyter.config.schema._fields import Section, number, place, text, whole, words


class LocalEngineSettings(Section):
    """Table ``[engine]``: the process that runs models, shared by the notebooks of a user.

    It reads them when it starts; the notebook that starts it decides.
    """

    idle_seconds: float = number(
        1800,
        0,
        10**9,
        "Time without a request after which the engine ends; 0 never ends it.",
        unit="seconds",
        acts=True,
    )
    transport: Literal["auto", "unix", "tcp"] = text(
        "auto",
        "How notebooks reach the engine; auto is unix where there are such sockets.",
        acts=True,
    )
    queue_limit: int = whole(
        64, 1, 1_000_000, "Requests that may wait for one model.", unit="requests", acts=True
    )


class ModelSettings(Section):
    """Table ``[models]``."""

    path: tuple[str, ...] = words(
        (), "Folders that are searched for models first.", acts=True, separator="PATH"
    )


class NotebookSettings(Section):
    """Table ``[notebook]``."""

    render: Literal["auto", "plain"] = text(
        "auto", "plain shows no live line, so that outputs repeat exactly.", acts=True
    )


class SqliteSettings(Section):
    """Table ``[storage.sqlite]``."""

    database_path: str | None = place(None, "File of the database; None is storage.database_path.")
    journal_mode: Literal["WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"] = text(
        "WAL", "How SQLite keeps its journal."
    )


class StorageSettings(Section):
    """Table ``[storage]``."""

    # Upstream has a folder of its own, ~/.llmspell; what a notebook leaves belongs to Jupyter's.
    base_dir: str = place("${JUPYTER_DATA_DIR}/llmspell", "Folder of everything that is kept.")
    database_path: str | None = place(
        None, "File of the database; None is data/llmspell.db in base_dir."
    )
    sessions_dir: str | None = place(None, "Folder of sessions; None is sessions in base_dir.")
    sqlite: SqliteSettings = SqliteSettings()
