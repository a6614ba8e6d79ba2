"""Where things lie. Every path that this package makes up is made here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from jupyter_core.paths import jupyter_config_path, jupyter_data_dir, jupyter_runtime_dir

from llmspell_jupyter.config import environment

#: Mode of files that no other user may open: a lock that others can open is one they can hold.
PRIVATE = 0o600

_PACKAGE = Path(__file__).resolve().parent.parent


def builtin_profiles() -> Path:
    """Folder of the shipped profiles, ``NAME.toml`` each.

    A wheel carries ``builtins/`` inside the package; an editable install runs from a checkout,
    where the folder stands beside it.
    """
    inside = _PACKAGE / "builtins" / "profiles"
    return inside if inside.is_dir() else _PACKAGE.parent / "builtins" / "profiles"


def runtime_folder() -> Path:
    """Jupyter's runtime folder, made when absent; only its user may look into it."""
    folder = Path(jupyter_runtime_dir())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def connection_file() -> Path:
    """Says where this user's engine listens; mode 0600, as kernels' connection files."""
    return runtime_folder() / "llmspell-engine.json"


def engine_log() -> Path:
    """What the engine and its workers last wrote; the run before is kept with suffix ``.1``."""
    return runtime_folder() / "llmspell-engine.log"


def engine_lock() -> Path:
    """Held by the running engine for as long as it lives."""
    return runtime_folder() / "llmspell-engine.lock"


def engine_start_lock() -> Path:
    """Held by whoever is starting the engine."""
    return runtime_folder() / "llmspell-engine-start.lock"


def model_folders() -> tuple[Path, ...]:
    """Folders searched for models, first match wins.

    ``LLMSPELL_MODEL_PATH``, then the model folder below Jupyter's data folder, then the one that
    rs-llmspell fills.
    """
    return (
        *environment.model_path(),
        Path(jupyter_data_dir()) / "llmspell" / "models",
        Path.home() / ".llmspell" / "models" / "candle",
    )


def builtin_catalog() -> Path:
    """File of the shipped catalog of models."""
    return builtin_profiles().parent / "models.toml"


def administrators_catalogs() -> Iterator[Path]:
    """Places of catalogs that an administrator adds for everyone."""
    yield from (Path(folder) / "llmspell_models.toml" for folder in jupyter_config_path())


def measured_speeds() -> Path:
    """What this machine's speed was found to be; made again when it is deleted."""
    return Path(jupyter_data_dir()) / "llmspell" / "speeds.json"


def converted_models() -> Path:
    """Forms of models that a library computes faster with, where one cannot lie beside its model.

    Made again when they are deleted.
    """
    return Path(jupyter_data_dir()) / "llmspell" / "converted"


def converted_model(folder: Path) -> Path:
    """Where the converted forms of one model lie that cannot lie in its folder."""
    owner = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
    return converted_models() / f"{folder.name}-{owner}"


def configuration_files(cwd: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """Places where a configuration is looked for, the first that exists is taken.

    Those of rs-llmspell in its order: the working folder, the user's, the files of ``~/.llmspell``.
    Then Jupyter's configuration folders, the last of which are the machine's.
    """
    home = Path(environ.get("HOME") or Path.home())
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    yield cwd / "llmspell.toml"
    yield cwd / ".llmspell.toml"
    yield cwd / "config" / "llmspell.toml"
    yield cwd / ".config" / "llmspell.toml"
    yield home / ".llmspell.toml"
    yield home / ".config" / "llmspell.toml"
    yield config / "llmspell" / "config.toml"
    yield from sorted((home / ".llmspell").glob("*.toml"))
    yield from (Path(folder) / "llmspell.toml" for folder in jupyter_config_path())
