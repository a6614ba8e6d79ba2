"""A layer: what one source says of the configuration, checked, and where it says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from llmspell_jupyter.config import leaves, redaction
from llmspell_jupyter.config.schema import (
    REDACTED,
    Configuration,
    Providers,
    ProviderSettings,
    SecretText,
    Section,
)
from llmspell_jupyter.errors import ConfigError

#: Kinds of layers, the strongest first.
Kind = Literal[
    "administrator", "environment", "profile", "config file", "discovered file", "default"
]

# Upstream's short spellings in the table of a provider, and the synonyms of names.
_SPELLINGS = {"type": "provider_type", "model": "default_model"}
_SYNONYMS = {"local": "candle"}

_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from.

    Attributes:
        layer: Kind of the layer.
        name: Name of the profile, or who the administrator is; may be empty.
        path: The file.
        line: The line in it, from 1.
        variable: The environment variable.
    """

    layer: Kind
    name: str = ""
    path: Path | None = None
    line: int | None = None
    variable: str = ""

    def __str__(self) -> str:
        named = " ".join(part for part in (self.layer, self.name or self.variable) if part)
        return f"{named} ({self.place})" if self.path else named

    @property
    def place(self) -> str:
        """``FILE:LINE``, or the variable, or the layer: what an error begins with."""
        if self.path is None:
            return self.variable or self.name or self.layer
        file = redaction.printable(str(self.path), 300)
        return f"{file}:{self.line}" if self.line else file


@dataclass(frozen=True, slots=True)
class Given:
    """A value as a source gives it."""

    value: Any = field(repr=False)
    origin: Origin


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says.

    Attributes:
        origin: The source, without line.
        values: What it gives, by key, as the file or variable has it.
        extends: Profile that it starts from, and the line that says so.
        notices: What its reader should be told.
    """

    origin: Origin
    values: Mapping[str, Given] = field(default_factory=dict, repr=False)
    extends: tuple[str, int | None] | None = None
    notices: tuple[str, ...] = ()


def problem(origin: Origin, key: str, what: str) -> ConfigError:
    """The error for a key: one line that begins with the place."""
    facts = {"key": redaction.printable(key, 200), "place": origin.place, "line": origin.line}
    return ConfigError(f"{origin.place}: {what}", data=facts)


def wrong_value(origin: Origin, key: str, value: Any, *, quoted: str | None = None) -> ConfigError:
    """The error for a value of the wrong type or out of range."""
    known = leaves.find(key)
    allowed = known.allowed if known else "another value"
    secret = known is not None and known.secret
    is_value = quoted or (REDACTED if secret else redaction.shown(key, value))
    return problem(origin, key, f"{key} is {is_value}; it can be {allowed}.")


def unknown_key(origin: Origin, key: str) -> ConfigError:
    """The error for a key that the schema does not have."""
    near = leaves.nearest(key)
    said = f"{redaction.printable(key, 100)} is not a known key"
    if near:
        return problem(origin, key, f"{said}; did you mean {near.replace(leaves.ANY, 'NAME')}?")
    section = key.rpartition(".")[0]
    known = leaves.known_in(section) or leaves.known_in("")
    names = ", ".join(each for each in known if each != leaves.ANY)
    return problem(origin, key, f"{said}; known there: {redaction.printable(names, 200)}.")


def flatten(
    table: Mapping[str, Any], origin_of: Callable[[tuple[str, ...]], Origin]
) -> dict[str, Given]:
    """The values of nested tables by key, checked each for itself.

    Args:
        table: What a file says, without ``extends``.
        origin_of: Says where the key of this path stands.

    Raises:
        ConfigError: A key is unknown, or a value is of the wrong type or out of range.
    """
    found: dict[str, Given] = {}
    for path, key, value in _walk(Configuration, table, (), "", origin_of):
        if key in found:
            raise problem(origin_of(path), key, f"{key} is set twice, under two of its names.")
        found[key] = Given(value, origin_of(path))
    check(found)
    return found


def check(values: Mapping[str, Given]) -> None:
    """Check each value for itself; how values go together is checked when all are merged.

    Raises:
        ConfigError: A value is of the wrong type or out of range.
    """
    try:
        Configuration.model_validate(nested(values))
    except ValidationError as error:
        for each in error.errors(include_url=False, include_context=False):
            # A layer may say a part of a provider; what is missing may come from another.
            if each["type"] == "missing":
                continue
            key, given = _at(each["loc"], values)
            raise wrong_value(given.origin, key, _entry(each["loc"], key, given.value)) from None


def plain(key: str, value: Any) -> Any:
    """The value with a provider's synonym replaced by its own name, and with secrets wrapped."""
    leaf = leaves.find(key)
    if isinstance(value, str) and leaf is not None and leaf.secret:
        return SecretText(value)
    if isinstance(value, str) and key.endswith(("default_provider", "provider_type")):
        return _SYNONYMS.get(value, value)
    return value


def nested(values: Mapping[str, Given]) -> dict[str, Any]:
    """The values as nested tables."""
    root: dict[str, Any] = {}
    for key, given in values.items():
        *tables, last = key.split(".")
        table = root
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = given.value
    return root


def _at(location: tuple[int | str, ...], values: Mapping[str, Given]) -> tuple[str, Given]:
    """The value that an error of pydantic is about: its location goes into lists and unions."""
    for end in range(len(location), 0, -1):
        key = ".".join(map(str, location[:end]))
        if given := values.get(key):
            return key, given
    raise AssertionError(f"no value at {location}")


def _entry(location: tuple[int | str, ...], key: str, value: Any) -> Any:
    """The entry of a list or table that is wrong, else the value itself."""
    inside = location[len(key.split(".")) :]
    if inside and isinstance(value, Mapping):
        return {inside[0]: value.get(str(inside[0]))}
    if inside and isinstance(value, list) and isinstance(inside[0], int):
        return [value[inside[0]]]
    return value


def _walk(
    section: type[BaseModel],
    table: Any,
    path: tuple[str, ...],
    key: str,
    origin_of: Callable[[tuple[str, ...]], Origin],
) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    if not isinstance(table, Mapping):
        raise problem(
            origin_of(path), key, f"{key} is {redaction.shown(key, table)}; it is a table, [{key}]."
        )
    word: str
    for word, value in table.items():
        here = (*path, word)
        name: str = _SPELLINGS.get(word, word) if section is ProviderSettings else word
        below = f"{key}.{name}" if key else name
        field_ = section.model_fields.get(name)
        if field_ is not None:
            inner = field_.annotation
            if isinstance(inner, type) and issubclass(inner, Section):
                yield from _walk(inner, value, here, below, origin_of)
            else:
                yield here, below, plain(below, value)
        elif section is Providers and isinstance(value, Mapping):
            provider = _provider_name(word, origin_of(here))
            if not value:
                # A table without keys says that there is a provider of this name.
                yield here, f"{key}.{provider}.provider_type", provider
            yield from _walk(ProviderSettings, value, here, f"{key}.{provider}", origin_of)
        else:
            raise unknown_key(origin_of(here), below)


def _provider_name(word: str, origin: Origin) -> str:
    plain = word.replace("-", "").replace("_", "")
    if not (plain.isascii() and plain.isalnum() and len(word) <= _LONGEST_NAME):
        raise problem(
            origin,
            f"providers.{word}",
            f'"{redaction.printable(word)}" is not a name of a provider; it can be up to '
            f"{_LONGEST_NAME} letters, digits, - and _.",
        )
    return _SYNONYMS.get(word, word)
