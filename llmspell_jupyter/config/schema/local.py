"""What this package has of its own: its engine, its model store, its place in a notebook."""

from __future__ import annotations

from typing import Literal

from llmspell_jupyter.config.schema._fields import (
    Section,
    flag,
    number,
    place,
    secret,
    text,
    whole,
    words,
)
from llmspell_jupyter.config.schema._secrets import SecretText


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
    client_queue_limit: int = whole(
        32,
        1,
        1_000_000,
        "Requests of one notebook that may wait for one model.",
        unit="requests",
        acts=True,
    )
    memory_limit_bytes: int = whole(
        0,
        0,
        10**15,
        "Most memory for all models together; 0 is what the machine or the container has free.",
        unit="bytes",
        acts=True,
    )
    model_ttl_seconds: float = number(
        900,
        0,
        10**9,
        "Time without a request after which a model leaves memory; 0 keeps it.",
        unit="seconds",
        acts=True,
    )


class ModelSettings(Section):
    """Table ``[models]``."""

    path: tuple[str, ...] = words(
        (), "Folders that are searched for models first.", acts=True, separator="PATH"
    )
    pinned: tuple[str, ...] = words(
        (), "Models that stay in memory once they are loaded, such as smollm2:135m.", acts=True
    )
    hub_cache: str | None = place(
        None,
        "Store of pulled models, laid out as the Hugging Face cache; None is that cache.",
        acts=True,
    )
    shared: tuple[str, ...] = words(
        (),
        "Further stores of that layout, which are only read.",
        acts=True,
        separator="PATH",
    )
    catalogs: tuple[str, ...] = words(
        (), "Files with models beside those of the catalog.", acts=True, separator="PATH"
    )
    ollama_store: str | None = place(
        None, "Folder of Ollama's files; None is where Ollama has them.", acts=True
    )
    hub_endpoint: str = text(
        "https://huggingface.co", "Address of the hub that models are pulled from.", acts=True
    )
    hub_token: SecretText | None = secret("Token for the hub.", acts=True)
    offline: bool = flag(False, "Ask no network for models.", acts=True)
    download_hosts: tuple[str, ...] = words(
        ("*.hf.co", "*.huggingface.co"),
        "Hosts beside the hub's that it may send downloads to, such as files.example.org.",
        acts=True,
    )
    download_bytes_per_second: int = whole(
        0,
        0,
        10**12,
        "Most for all downloads together; 0 is no limit.",
        unit="bytes per second",
        acts=True,
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
