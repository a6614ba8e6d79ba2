"""JSON Schema as a grammar that llama.cpp follows.

The grammar holds ``type``, ``properties``, ``required``, ``additionalProperties``, ``items``,
``prefixItems``, ``minItems``, ``maxItems``, ``minLength``, ``maxLength``, ``minimum`` and
``maximum`` of integers, ``enum``, ``const``, ``anyOf``, ``oneOf``, ``allOf``, ``$ref`` inside the
schema, and the formats of dates, times and UUIDs. Properties come in the order of the schema, and
those that it does not name only where it allows them by name. What the other keywords say, such
as ``uniqueItems``, is left to a check of the whole answer; patterns are nobody's, and a note says
so.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmspell_jupyter.engine.backends._llama import gbnf
from llmspell_jupyter.engine.backends._llama.digits import integer_between
from llmspell_jupyter.engine.backends._llama.schema_parts import (
    NothingFits,
    Schema,
    SchemaError,
    kinds_of,
    merged,
    resolved,
)
from llmspell_jupyter.errors import RequestError

_MOST_CHARACTERS = 100_000
_DEEPEST = 40

# Counts up to which a grammar holds to them; each takes a rule.
_MOST_COUNTED = 300

# Characters that stand in a JSON text as they are, as code points. Not said as what they are not:
# that would take in bytes that are no characters.
_PLAIN_RANGES = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0x80, 0xD7FF), (0xE000, 0x10FFFF))

_DIGITS = '("0" | [1-9] [0-9]{0,15})'
_TIME = (
    '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{3})? '
    '("Z" | [+-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])'
)
_DATE = '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])'

_FORMATS = ("date", "time", "date-time", "uuid")


def to_gbnf(schema: Schema) -> str:
    """A grammar of the JSON texts that a schema allows, or of some of them.

    Args:
        schema: JSON Schema; ``{}`` allows any JSON value.

    Raises:
        RequestError: The schema is malformed, too large, refers to other documents, or allows
            nothing; the message names the place.
    """
    try:
        if len(json.dumps(schema)) > _MOST_CHARACTERS:
            raise SchemaError(f"it has more than {_MOST_CHARACTERS:,} characters")
        grammar = _Converter(schema).grammar()
        gbnf.check(grammar)
    except RecursionError:
        cause = "it is nested too deeply"
    except SchemaError as error:
        cause = str(error)
    except RequestError as error:
        cause = f"its grammar is of no use: {error.data['cause']}"
    else:
        return grammar
    raise RequestError(
        f"The JSON schema cannot be followed: {cause}.",
        hint="Make it smaller or plainer; the guide says which keywords are followed.",
        data={"field": "json_schema", "cause": cause},
    )


class _Converter:
    def __init__(self, schema: Schema):
        self._schema = schema
        self._rules: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._references: dict[str, str] = {}

    def grammar(self) -> str:
        root = self._visit(self._schema, "#", 0)
        rules = {"root": root, **self._rules, **_RULES}
        return "\n".join(f"{name} ::= {rules[name]}" for name in _reachable(rules))

    def _visit(self, schema: Any, at: str, depth: int) -> str:
        """The name of the rule for a schema."""
        if depth > _DEEPEST:
            raise SchemaError(f"it is nested more than {_DEEPEST} deep at {at}")
        if schema is True or schema == {}:
            return "value"
        if not isinstance(schema, Mapping):
            raise NothingFits(at) if schema is False else SchemaError(f"{at} is no schema")
        if "$ref" in schema:
            return self._reference(schema["$ref"], at)
        if "allOf" in schema:
            return self._visit(self._joined(schema, at), at, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                rest = {name: each for name, each in schema.items() if name != keyword}
                choices = _list(schema, keyword, at)
                return self._any_of(self._choices(rest, choices, f"{at}/{keyword}", depth))
        return self._plain(schema, at, depth)

    def _choices(self, rest: Schema, choices: list[Any], at: str, depth: int) -> Iterator[str]:
        found = False
        for number, each in enumerate(choices):
            with contextlib.suppress(NothingFits):
                name = self._visit(self._merged(rest, each, at), f"{at}/{number}", depth + 1)
                found = True
                yield name
        if not found:
            raise NothingFits(at)

    def _plain(self, schema: Schema, at: str, depth: int) -> str:
        kinds = kinds_of(schema, at)
        if "const" in schema:
            return self._one_of([schema["const"]], at)
        if "enum" in schema:
            return self._one_of(_list(schema, "enum", at), at)
        visit = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
        }
        return self._any_of(
            visit[kind](schema, at, depth) if kind in visit else kind for kind in kinds
        )

    def _reference(self, reference: Any, at: str) -> str:
        if reference not in self._references:
            target = resolved(self._schema, reference, at)
            name = self._references[reference] = f"ref{len(self._references)}"
            # It may refer to itself, so it has its name before it is visited.
            self._rules[name] = self._visit(target, reference, 0)
        return self._references[reference]

    def _joined(self, schema: Schema, at: str) -> Schema:
        joined: Any = {name: each for name, each in schema.items() if name != "allOf"}
        for each in _list(schema, "allOf", at):
            joined = self._merged(joined, each, at)
        return dict(joined)

    def _merged(self, schema: Schema, other: Any, at: str) -> Any:
        for _ in range(_DEEPEST):
            if not isinstance(other, Mapping) or "$ref" not in other or not schema:
                return merged(schema, other, at)
            rest = {name: each for name, each in other.items() if name != "$ref"}
            other = merged(rest, resolved(self._schema, other["$ref"], at), at)
        raise SchemaError(f"references go in a circle at {at}")

    def _one_of(self, values: Iterable[Any], at: str) -> str:
        literals = [_literal(json.dumps(each, ensure_ascii=False)) for each in values]
        if not literals:
            raise NothingFits(at)
        return self._rule(" | ".join(literals))

    def _any_of(self, names: Iterable[str]) -> str:
        found = list(dict.fromkeys(names))
        return found[0] if len(found) == 1 else self._rule(" | ".join(found))

    def _integer(self, schema: Schema, at: str, depth: int) -> str:
        least, most = _bounds_of_integer(schema)
        if least is None and most is None:
            return "integer"
        if least is not None and most is not None and least > most:
            raise NothingFits(at)
        return self._rule(integer_between(least, most))

    def _number(self, schema: Schema, at: str, depth: int) -> str:
        bounds: list[Any] = [schema.get("minimum"), schema.get("exclusiveMinimum")]
        return "positive" if any(_is_number(each) and each >= 0 for each in bounds) else "number"

    def _string(self, schema: Schema, at: str, depth: int) -> str:
        if schema.get("format") in _FORMATS:
            return str(schema["format"])
        least, most = _counts(schema, "minLength", "maxLength", at)
        if (least, most) == (0, None):
            return "string"
        inside = self._rule(_repeated("char", least, most))
        return self._rule(rf'"\"" {inside} "\""')

    def _array(self, schema: Schema, at: str, depth: int) -> str:
        items, first = schema.get("items", True), schema.get("prefixItems", [])
        if isinstance(items, list):
            items, first = schema.get("additionalItems", True), items
        least, most = _counts(schema, "minItems", "maxItems", at)
        names = [
            self._visit(each, f"{at}/prefixItems/{number}", depth + 1)
            for number, each in enumerate(first[:most])
        ]
        open_end = items is not False and (most is None or most > len(names))
        if least > len(names) and not open_end:
            raise NothingFits(at)
        rest = self._visit(items, f"{at}/items", depth + 1) if open_end else ""
        if not names and (least, most) == (0, None) and rest == "value":
            return "array"
        inside = self._elements(names, rest, least, most)
        return self._rule(f'"[" ws {inside} "]"' if inside else '"[" ws "]"')

    def _elements(self, names: list[str], rest: str, least: int, most: int | None) -> str:
        """What stands between the brackets, built from its end."""
        count = len(names)
        tail = ""
        if rest:
            more = None if most is None else most - max(count, 1)
            tail = _repeated(f"(comma {rest})", max(0, least - max(count, 1)), more)
            if not names:
                tail = f"{rest} {tail} ws"
                return self._rule(tail if least else f"({tail})?")
        for number in reversed(range(count)):
            after = self._rule(f"{names[number]} {tail} {'ws' if number == 0 else ''}")
            part = f"{'comma ' if number else ''}{after}"
            tail = part if number < least else f"({part})?"
        return tail

    def _object(self, schema: Schema, at: str, depth: int) -> str:
        properties = schema.get("properties", {})
        if not isinstance(properties, Mapping):
            raise SchemaError(f"properties is no object at {at}")
        more = schema.get("additionalProperties", not properties)
        required = _list(schema, "required", at) if "required" in schema else []
        if not properties and not required and more is True:
            return "object"
        properties = {**properties, **{name: more for name in required if name not in properties}}
        if not all(isinstance(name, str) for name in required):
            raise SchemaError(f"required holds what is no name at {at}")
        members = [
            (
                f"{_literal(json.dumps(name, ensure_ascii=False))} colon "
                + self._visit(each, f"{at}/properties/{name}", depth + 1),
                name in required,
            )
            for name, each in properties.items()
        ]
        other = ""
        if more is not False:
            value = self._visit(more, f"{at}/additionalProperties", depth + 1)
            other = f"{self._other_key(properties)} colon {value}"
        inside = self._members(members, other)
        return self._rule(f'"{{" ws {inside} "}}"')

    def _members(self, members: list[tuple[str, bool]], other: str) -> str:
        """What stands between the braces, built from its end: after nothing, and after a member."""
        begin = self._rule(f"({other} (comma {other})* ws)?" if other else '""')
        follow = self._rule(f"(comma {other})* ws" if other else "ws")
        for member, needed in reversed(members):
            rest = follow
            follow = self._rule(f"comma {member} {rest}" + ("" if needed else f" | {rest}"))
            begin = self._rule(f"{member} {rest}" + ("" if needed else f" | {begin}"))
        return begin

    def _other_key(self, names: Iterable[str]) -> str:
        """A key that is none of these; without escapes, in which they could be spelled."""
        names = set(names)
        return self._rule(f'"\\"" {self._unlike(names)}') if names else "string"

    def _unlike(self, endings: set[str]) -> str:
        by_first: dict[str, set[str]] = {}
        for ending in endings - {""}:
            by_first.setdefault(ending[0], set()).add(ending[1:])
        ways = [rf'[{_plain_but(sorted(by_first))}] plain* "\""']
        ways += [f"{_literal(letter)} {self._unlike(by_first[letter])}" for letter in by_first]
        if "" not in endings:
            ways.append(r'"\""')
        return self._rule(" | ".join(ways))

    def _rule(self, expression: str) -> str:
        """The name of a rule; equal ones are one."""
        if expression not in self._names:
            name = self._names[expression] = f"r{len(self._names)}"
            self._rules[name] = expression
        return self._names[expression]


def _reachable(rules: Mapping[str, str]) -> list[str]:
    found, waiting = {"root": None}, ["root"]
    while waiting:
        for word in _words(rules[waiting.pop()]):
            if word in rules and word not in found:
                found[word] = None
                waiting.append(word)
    return list(found)


def _words(expression: str) -> list[str]:
    """What could be names of rules, some of it text inside of literals."""
    letters = (letter if letter.isalnum() or letter == "-" else " " for letter in expression)
    return "".join(letters).split()


def _repeated(what: str, least: int, most: int | None) -> str:
    least = min(least, _MOST_COUNTED)
    if most is None or most > _MOST_COUNTED:
        return f"{what}{{{least},}}" if least else f"{what}*"
    return f"{what}{{{least},{most}}}" if most else ""


def _literal(text: str) -> str:
    return '"' + "".join(map(_in_literal, text)) + '"'


def _in_literal(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    return letter if letter.isprintable() else _code(letter)


def _plain_but(barred: list[str]) -> str:
    """The inside of a class of all plain characters but some, which are in order."""
    ranges = []
    for first, last in _PLAIN_RANGES:
        for point in (ord(letter) for letter in barred if first <= ord(letter) <= last):
            if first < point:
                ranges.append((first, point - 1))
            first = point + 1
        if first <= last:
            ranges.append((first, last))
    return "".join(f"\\U{first:08X}-\\U{last:08X}" for first, last in ranges)


def _code(letter: str) -> str:
    return f"\\U{ord(letter):08X}"


def _list(schema: Schema, keyword: str, at: str) -> list[Any]:
    value = schema[keyword]
    if not isinstance(value, list):
        raise SchemaError(f"{keyword} is no list at {at}")
    return value


def _counts(schema: Schema, least: str, most: str, at: str) -> tuple[int, int | None]:
    low, high = schema.get(least, 0), schema.get(most)
    if not all(isinstance(each, int) and each >= 0 for each in (low, 0 if high is None else high)):
        raise SchemaError(f"{least} or {most} is no count at {at}")
    if high is not None and low > high:
        raise NothingFits(at)
    return low, high


def _bounds_of_integer(schema: Schema) -> tuple[int | None, int | None]:
    numbers = {name: each for name, each in schema.items() if _is_number(each)}
    lowest = [math.ceil(numbers[name]) for name in ("minimum",) if name in numbers]
    lowest += [math.floor(numbers[name]) + 1 for name in ("exclusiveMinimum",) if name in numbers]
    highest = [math.floor(numbers[name]) for name in ("maximum",) if name in numbers]
    highest += [math.ceil(numbers[name]) - 1 for name in ("exclusiveMaximum",) if name in numbers]
    return max(lowest, default=None), min(highest, default=None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


#: Rules that every grammar can refer to. White space is bounded, and there is none at the end,
#: so that an answer cannot go on after its last character.
_RULES = {
    "ws": '(" " | "\\n" " "{0,20})?',
    "colon": '":" " "?',
    "comma": '"," ws',
    # No escape of half a character: what is read back could not be written as UTF-8.
    "char": r'plain | "\\" (["\\/bfnrt] | "u" code)',
    "code": "[0-9a-cA-CefEF] hex{3} | [dD] [0-7] hex{2}",
    "hex": "[0-9a-fA-F]",
    "string": r'"\"" char* "\""',
    "plain": f"[{_plain_but([])}]",
    "integer": f'"-"? {_DIGITS}',
    "positive": f'{_DIGITS} ("." [0-9]{{1,16}})? ([eE] [-+]? [0-9]{{1,2}})?',
    "number": '"-"? positive',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "member": "string colon value",
    "object": '"{" ws (member (comma member)* ws)? "}"',
    "array": '"[" ws (value (comma value)* ws)? "]"',
    "value": "object | array | string | number | boolean | null",
    "date": rf'"\"" {_DATE} "\""',
    "time": rf'"\"" {_TIME} "\""',
    "date-time": rf'"\"" {_DATE} "T" {_TIME} "\""',
    "uuid": r'"\"" hex{8} ("-" hex{4}){3} "-" hex{12} "\""',
}
