"""Profiles: a name stands for a TOML file, a file for a checked configuration."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from llmspell_jupyter.config import paths
from llmspell_jupyter.config.schema import Configuration, Providers, ProviderSettings
from llmspell_jupyter.errors import ConfigError, UnknownProfile

#: Names that stand for other names.
ALIASES = {"local": "candle"}

# A profile is some dozens of lines; the parser of the standard library is recursive and slow on
# hostile input (its time grows with the square of a key's parts), so a file that cannot be a
# profile is not given to it.
_LARGEST = 64 * 1024
_LONGEST_LINE = 1_000


@dataclass(frozen=True, slots=True)
class Profile:
    """A loaded profile.

    Attributes:
        name: The file's name without suffix.
        path: The file.
        configuration: Its checked content, defaults included.
    """

    name: str
    path: Path
    configuration: Configuration


def names() -> list[str]:
    """Names of the built-in profiles."""
    return sorted(path.stem for path in paths.builtin_profiles().glob("*.toml"))


def load(name: str) -> Profile:
    """Load a built-in profile.

    Raises:
        UnknownProfile: There is none of this name; the error lists all.
        ConfigError: Its file is wrong.
    """
    wanted = name.strip()
    canonical = ALIASES.get(wanted, wanted)
    if canonical not in names():
        near = difflib.get_close_matches(wanted, [*names(), *ALIASES], n=1)
        raise UnknownProfile(
            f"Unknown profile {wanted[:80]!r}. Available profiles: {', '.join(names())}.",
            hint=f"Type: %llmspell_profile {near[0] if near else 'candle'}",
            data={"profile": wanted[:80], "available": names()},
        )
    path = paths.builtin_profiles() / f"{canonical}.toml"
    return Profile(canonical, path, read(path))


def read(path: Path) -> Configuration:
    """Read and check a profile file.

    Raises:
        ConfigError: It is not TOML, or a key or value is wrong; one line that names the key, what
            is allowed and the nearest known key.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(f"{path} is larger than {_LARGEST // 1024} KiB; no profile is.")
        text = path.read_text("utf-8")
        if any(len(line) > _LONGEST_LINE for line in text.splitlines()):
            raise ConfigError(f"{path} has a line of more than {_LONGEST_LINE} characters.")
        values = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} nests too deeply to be a profile.") from None
    try:
        return Configuration.model_validate(values)
    except ValidationError as error:
        raise _explain(path, error) from None


def _explain(path: Path, error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return ConfigError(f"{path}: {key}: {first['msg']}.", data={"key": key})
    known = _known_keys(first["loc"][:-1])
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
    return ConfigError(
        f"{path}: {key} is not a known key.",
        hint=f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(sorted(known))}.",
        data={"key": key},
    )


def _known_keys(table: Sequence[int | str]) -> list[str]:
    model: Any = Configuration
    for part in table:
        fields = {part: ProviderSettings} if model is Providers else _field_types(model)
        model = fields[part]
    return [str(name) for name in _field_types(model)]


def _field_types(model: type[BaseModel]) -> dict[str | int, Any]:
    return {name: field.annotation for name, field in model.model_fields.items()}
