"""Values of scripts as readable trees."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from llmspell_jupyter.config.escaping import printable
from llmspell_jupyter.runtime.border import Callback

# Texts that need no quotes to be told from numbers, booleans and structure.
_PLAIN = re.compile(r"[^\W\d][\w ./@:()+-]*")
_WORDS = frozenset({"true", "false", "nil"})


class Table(dict[Any, Any]):
    """A Lua table with names: a dict that shows itself as a tree."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(tree(self))


class Array(list[Any]):
    """A Lua table with numbers only: a list that shows itself as a tree."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(tree(self))


def result(value: Any) -> Any:
    """A value of a script as Python code gets it: plain, but shown as a tree."""
    if isinstance(value, dict):
        return Table(value)
    return Array(value) if isinstance(value, list) else value


def tree(value: Any) -> str:
    """The value over several lines, keys sorted, without quotes where none are needed."""
    return "\n".join(_lines(value))


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key in sorted(value, key=lambda key: (isinstance(key, str), key)):
            yield from _entry(f"{_name(key)}:", value[key])
    elif isinstance(value, list) and value:
        for each in value:
            yield from _entry("-", each)
    else:
        yield _scalar(value)


def _entry(head: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield head
        for line in _lines(value):
            yield f"  {line}"
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: Any) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    if isinstance(value, Callback):
        return "function"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value not in _WORDS and not value.endswith((" ", ":"))
        return value if plain else _quoted(value)
    return "{}" if value in ({}, []) else str(value)


def _name(key: Any) -> str:
    if not isinstance(key, str):
        return f"[{key}]"
    return key if key.isprintable() else _quoted(key)


def _quoted(text: str) -> str:
    # JSON leaves alone what many terminals obey, such as U+009B and marks of direction.
    return printable(json.dumps(text, ensure_ascii=False))
