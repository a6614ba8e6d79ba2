"""What JSON schemas are made of: their types, references and how two of them are one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

Schema = Mapping[str, Any]

_KINDS = ("object", "array", "string", "integer", "number", "boolean", "null")

# Keywords that say what kind of value is meant where ``type`` does not.
_TELLING = {
    "object": ("properties", "required", "additionalProperties", "patternProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}

_LARGER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_SMALLER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


class SchemaError(Exception):
    """A schema cannot be followed."""


class NothingFits(SchemaError):
    """A schema allows no value.

    Args:
        at: Where it stands.
    """

    def __init__(self, at: str):
        super().__init__(f"nothing fits {at}")


def kinds_of(schema: Schema, at: str) -> list[str]:
    """The types of value that a schema speaks of.

    Raises:
        SchemaError: It names a type that JSON has not, or none.
    """
    said = schema.get("type")
    if said is None:
        telling = [
            kind for kind, words in _TELLING.items() if any(word in schema for word in words)
        ]
        return telling or ["value"]
    kinds = said if isinstance(said, list) else [said]
    if not kinds:
        raise NothingFits(at)
    for kind in kinds:
        if kind not in _KINDS:
            raise SchemaError(f"{kind!r} is no type of JSON, at {at}")
    return kinds


def resolved(root: Any, reference: Any, at: str) -> Any:
    """What a reference inside a schema points to.

    Raises:
        SchemaError: It points elsewhere, or to nothing.
    """
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise SchemaError(f"{reference!r} at {at} is no reference inside of the schema")
    found = root
    for part in reference.split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, Mapping) and name in found:
            found = found[name]
        else:
            raise SchemaError(f"{reference!r} at {at} refers to nothing")
    return found


def merged(one: Schema, other: Any, at: str) -> Any:
    """A schema for what fits both.

    Where two keywords cannot be made one, the first stands.

    Raises:
        SchemaError: Nothing fits both.
    """
    if other is True or other == {}:
        return one
    if not isinstance(other, Mapping):
        raise NothingFits(at) if other is False else SchemaError(f"{at} holds no schema")
    both: dict[str, Any] = {**other, **one}
    for word in one.keys() & other.keys():
        both[word] = _merged_word(word, one[word], other[word], at)
    if "properties" in both:
        both["properties"] = _merged_properties(one, other)
    return both


def _merged_properties(one: Schema, other: Schema) -> dict[str, Any]:
    """Properties of both; what one does not name, its ``additionalProperties`` speak of."""
    named = [each.get("properties", {}) for each in (one, other)]
    rest = [each.get("additionalProperties", True) for each in (one, other)]
    both = {}
    for name in {**named[0], **named[1]}:
        said = [properties.get(name, more) for properties, more in zip(named, rest, strict=True)]
        if False not in said:
            said = [each for each in said if each is not True]
            both[name] = said[0] if len(said) == 1 else {"allOf": said}
    return both


def _merged_word(word: str, one: Any, other: Any, at: str) -> Any:
    if one == other:
        return one
    if word == "required":
        return [*one, *(name for name in other if name not in one)]
    if word == "type":
        return _common_kinds(one, other, at)
    if word == "enum":
        return [value for value in one if value in other]
    if word in _LARGER:
        return max(one, other)
    if word in _SMALLER:
        return min(one, other)
    if word == "additionalProperties" and False in (one, other):
        return False
    return one


def _common_kinds(one: Any, other: Any, at: str) -> list[str]:
    kinds = [set([each] if isinstance(each, str) else each) for each in (one, other)]
    for each in kinds:
        if "number" in each:
            each.add("integer")
    common = kinds[0] & kinds[1]
    if "number" in common:
        common.discard("integer")
    if not common:
        raise NothingFits(at)
    return sorted(common)
