"""The keys of the schema, one by one: what each means, takes and does."""

from __future__ import annotations

import difflib
import functools
import operator
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Secret
from pydantic.fields import FieldInfo

from llmspell_jupyter.config.schema import Configuration, Providers, ProviderSettings, Section

#: Stands for the name of a provider in the key of a leaf.
ANY = "*"

_LONGEST_WORD = 80


@dataclass(frozen=True, slots=True)
class Leaf:
    """One key.

    Attributes:
        key: Its dotted path; ``providers.*.`` stands for every provider.
        type: Its type in words: ``whole number``, ``one of a, b``, ``text``.
        allowed: Type and range in words, as an error says them.
        default: Value when no layer sets it; None also when there is none.
        meaning: One sentence.
        unit: Unit of a number; may be empty.
        in_force: False when the code that would read it has not landed.
        secret: Its value is never shown.
        separator: Between the parts of a list in an environment variable.
        annotation: Its Python type.
        optional: It may be left without value.
    """

    key: str
    type: str
    allowed: str
    default: Any
    meaning: str
    unit: str
    in_force: bool
    secret: bool
    separator: str
    annotation: Any
    optional: bool


@functools.cache
def leaves() -> Mapping[str, Leaf]:
    """All keys, in the order of the schema."""
    return types.MappingProxyType({each.key: each for each in _walk(Configuration, ())})


@functools.cache
def sections() -> frozenset[str]:
    """All tables; that of a provider is ``providers.*``."""
    return frozenset(
        ".".join(parts[:end])
        for parts in (key.split(".") for key in leaves())
        for end in range(1, len(parts))
    )


def pattern(key: str) -> str:
    """The key with the name of its provider replaced by ``*``."""
    parts = key.split(".")
    if parts[0] == "providers" and len(parts) > 1 and key != "providers.default_provider":
        parts[1] = ANY
    return ".".join(parts)


def find(key: str) -> Leaf | None:
    """What is known of a key; None when there is no such key."""
    return leaves().get(pattern(key)) if ANY not in key else leaves().get(key)


def pending_keys() -> tuple[str, ...]:
    """Keys that are not yet in force: the room that reads them has not landed."""
    return tuple(key for key, leaf in leaves().items() if not leaf.in_force)


def known_in(section: str) -> list[str]:
    """Names that may stand in a table; the table of a profile itself is ``""``."""
    start = f"{pattern(section)}." if section else ""
    return list(
        dict.fromkeys(
            key.removeprefix(start).split(".")[0] for key in leaves() if key.startswith(start)
        )
    )


def nearest(key: str) -> str | None:
    """The known key that looks most like this one, or None.

    First among its neighbours, then among keys of the same last word anywhere, then anywhere.
    """
    if len(key) > 3 * _LONGEST_WORD:
        return None
    section, _, word = key.rpartition(".")
    prefix = f"{section}." if section else ""
    here = known_in(section) if not section or pattern(section) in sections() else []
    if near := close(word, here):
        return prefix + near
    keys = [*leaves(), *sections()]
    same = [each for each in keys if each.rpartition(".")[2] == word]
    if found := difflib.get_close_matches(key, same, n=1, cutoff=0.0):
        return found[0]
    # A beginning in common would make one of its tables the nearest in any case.
    return None if here and section else close(key, keys)


def close(word: str, known: Sequence[str]) -> str | None:
    """The known word that looks most like this one, or None."""
    found = difflib.get_close_matches(word[:_LONGEST_WORD], known, n=1)
    return found[0] if found else None


def json_schema() -> dict[str, Any]:
    """The schema for editors: JSON Schema, draft 7, a description for every key."""
    schema = Configuration.model_json_schema()
    provider = schema["$defs"][ProviderSettings.__name__]
    # Both are accepted spellings; 'name' alone decides the kind when it is one.
    for short, name in (("type", "provider_type"), ("model", "default_model")):
        provider["properties"][short] = provider["properties"][name]
    provider.pop("required", None)
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "Built-in profile that this file starts from.",
    }
    for table in [schema, *schema["$defs"].values()]:
        for facts in table["properties"].values():
            if facts.get("x-in-force") is False:
                facts["description"] += " (Not yet in force.)"
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema} | {
        "title": "llmspell-jupyter configuration"
    }


def _walk(section: type[BaseModel], at: tuple[str, ...]) -> Iterator[Leaf]:
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from _walk(inner, (*at, name))
        else:
            yield _leaf(".".join((*at, name)), field)
    if section is Providers:
        yield from _walk(ProviderSettings, (*at, ANY))


def _leaf(key: str, field: FieldInfo) -> Leaf:
    extra = field.json_schema_extra
    facts: dict[str, Any] = extra if isinstance(extra, dict) else {}
    annotation, optional = _without_none(field.annotation)
    unit = str(facts.get("x-unit", ""))
    kind = str(facts.get("x-kind") or _kind(annotation))
    return Leaf(
        key=key,
        type=kind,
        allowed=" ".join(part for part in (_article(kind), _range(field), unit) if part),
        default=None if field.is_required() else field.get_default(call_default_factory=True),
        meaning=field.description or "",
        unit=unit,
        in_force=bool(facts.get("x-in-force")),
        secret=_is_secret(annotation),
        separator=str(facts.get("x-separator", ",")),
        annotation=annotation,
        optional=optional,
    )


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [each for each in get_args(annotation) if each is not types.NoneType]
        if len(kept) < len(get_args(annotation)):
            return functools.reduce(operator.or_, kept), True
    return annotation, False


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(map(str, get_args(annotation)))
    if _is_secret(annotation):
        return "text"
    return {
        bool: "true or false",
        int: "whole number",
        float: "number",
        str: "text",
        tuple: "list of texts",
        dict: "table of names and values",
    }[get_origin(annotation) or annotation]


def _is_secret(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Secret)


def _article(kind: str) -> str:
    return f"a {kind}" if kind.split()[0] in ("whole", "number", "list", "table", "path") else kind


def _range(field: FieldInfo) -> str:
    bounds = {
        name: getattr(each, name)
        for each in field.metadata
        for name in ("gt", "ge", "le")
        if hasattr(each, name)
    }
    if not bounds:
        return ""
    least = f"above {bounds['gt']:.15g}" if "gt" in bounds else f"from {bounds['ge']}"
    return f"{least} to {bounds['le']}"
