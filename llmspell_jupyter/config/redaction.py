"""What may be shown of a value, and what stands behind ``${NAME}`` when it is used."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_data_dir

from llmspell_jupyter.config import escaping
from llmspell_jupyter.config.schema import REDACTED, ProviderSettings, is_secret, redact
from llmspell_jupyter.errors import ConfigError

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SHOWN = 60

__all__ = [
    "REDACTED",
    "api_key",
    "is_secret",
    "printable",
    "redact",
    "resolve",
    "resolve_path",
    "shown",
]


def printable(text: str, longest: int = _SHOWN) -> str:
    """The text on one line and not longer than so many characters."""
    return escaping.printable(text, longest)


def shown(name: str, value: Any) -> str:
    """The value as a message may quote it: as TOML writes it, cut, without secrets."""
    value = redact(name, value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if value == REDACTED else f'"{printable(value)}"'
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of more than 38 digits"
    if isinstance(value, Mapping):
        pairs = (f"{key} = {shown(key, each)}" for key, each in list(value.items())[:5])
        return "{" + printable(", ".join(pairs)) + "}"
    if isinstance(value, list | tuple):
        return "[" + printable(", ".join(shown(name, each) for each in value[:5])) + "]"
    return "none" if value is None else printable(str(value))


def resolve(text: str, environ: Mapping[str, str] | None = None) -> str:
    """The text with ``${NAME}`` replaced by the variable; for use at the moment of use only.

    ``${JUPYTER_DATA_DIR}`` and ``${HOME}`` are known without a variable.

    Raises:
        ConfigError: A variable is not set; the error names it.
    """
    variables = os.environ if environ is None else environ

    def value(match: re.Match[str]) -> str:
        name = match[1]
        found = variables.get(name) or _known(name)
        if found is None:
            raise ConfigError(
                f"The variable {name}, which the configuration names as ${{{name}}}, is not set.",
                hint=f"Set it before Jupyter starts: export {name}=...",
                data={"variable": name},
            )
        return found

    return _REFERENCE.sub(value, text)


def resolve_path(text: str, environ: Mapping[str, str] | None = None) -> Path:
    """The path that a value stands for: ``${NAME}`` and ``~`` resolved."""
    return Path(resolve(text, environ)).expanduser()


def api_key(settings: ProviderSettings, environ: Mapping[str, str] | None = None) -> str | None:
    """The key of a provider, at the moment of use; None when none is configured or set."""
    if settings.api_key is not None:
        return resolve(settings.api_key.get_secret_value(), environ)
    variables = os.environ if environ is None else environ
    return variables.get(settings.api_key_env or "") or None


def _known(name: str) -> str | None:
    if name == "JUPYTER_DATA_DIR":
        return jupyter_data_dir()
    return str(Path.home()) if name == "HOME" else None
