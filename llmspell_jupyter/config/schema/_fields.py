"""What the tables of the schema are made of: one helper for each kind of value.

Every helper takes what a reader of ``explain`` or an editor wants to know: the default, the
range, the unit and one sentence. ``acts`` says that running code reads the key; a key without it
belongs to a room that has not landed, and is reported as "not yet in force".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from llmspell_jupyter.config.schema._secrets import redact

#: Longest text of any value, in characters.
LONGEST_TEXT = 4096


class Section(BaseModel):
    """A table of a profile: immutable, strict about names and types."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        str_max_length=LONGEST_TEXT,
        # Values of a caller must not appear in a message that nobody here has read.
        hide_input_in_errors=True,
        # Built once, as part of the whole, instead of each by itself as well.
        defer_build=True,
    )

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # Immutable; pydantic would copy the defaults of all tables for every configuration.
        return self

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # A notebook shows the value of a cell's last line.
        for name, value in super().__repr_args__():
            is_section = isinstance(value, Section)
            yield name, value if is_section or name is None else redact(name, value)


def flag(default: bool | None, meaning: str, *, acts: bool = False) -> Any:
    """True or false."""
    return Field(default=default, description=meaning, json_schema_extra=_facts(acts))


def whole(
    default: int | None, least: int, most: int, meaning: str, *, unit: str = "", acts: bool = False
) -> Any:
    """A whole number from ``least`` to ``most``."""
    return Field(
        default=default,
        ge=least,
        le=most,
        description=meaning,
        json_schema_extra=_facts(acts, unit),
    )


def number(
    default: float | None,
    least: float,
    most: float,
    meaning: str,
    *,
    unit: str = "",
    acts: bool = False,
    above: bool = False,
) -> Any:
    """A number from ``least`` to ``most``; ``above`` leaves out ``least`` itself."""
    bound: Any = {"gt": least} if above else {"ge": least}
    return Field(
        default=default,
        le=most,
        description=meaning,
        json_schema_extra=_facts(acts, unit),
        **bound,
    )


def text(default: str | None, meaning: str, *, acts: bool = False) -> Any:
    """Text, or one of the words that the annotation lists."""
    return Field(default=default, description=meaning, json_schema_extra=_facts(acts))


def place(default: str | None, meaning: str, *, acts: bool = False) -> Any:
    """A path; ``~`` and ``${NAME}`` in it are resolved when it is used."""
    return Field(default=default, description=meaning, json_schema_extra=_facts(acts, kind="path"))


def words(
    default: tuple[str, ...], meaning: str, *, acts: bool = False, separator: str = ","
) -> Any:
    """A list of texts; ``separator`` stands between them in an environment variable."""
    # Files give lists; whoever holds a configuration must not be able to append to one.
    return Field(
        default=default,
        strict=False,
        max_length=1000,
        description=meaning,
        json_schema_extra=_facts(acts, separator=separator),
    )


def table(meaning: str, *, acts: bool = False) -> Any:
    """A table with free keys."""
    return Field(
        default_factory=dict,
        max_length=1000,
        description=meaning,
        json_schema_extra=_facts(acts),
    )


def secret(meaning: str, *, acts: bool = False) -> Any:
    """Text that no output shows."""
    return Field(default=None, description=meaning, json_schema_extra=_facts(acts))


def _facts(acts: bool, unit: str = "", kind: str = "", separator: str = "") -> dict[str, Any]:
    named = {"x-unit": unit, "x-kind": kind, "x-separator": separator}
    return {"x-in-force": acts, **{name: value for name, value in named.items() if value}}
