"""Configurations as text: TOML of one that is loaded, and a file to start from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmspell_jupyter.config import leaves
from llmspell_jupyter.config.leaves import Leaf


def toml(table: Mapping[str, Any], at: str = "") -> str:
    """A table as TOML; keys without value are left out, as TOML has no word for them.

    Args:
        table: JSON values, such as ``Loaded.show()`` gives.
        at: Dotted name of the table; empty for a whole configuration.
    """
    return "\n".join(_lines(table, at)).strip("\n") + "\n"


def starter(profile: str = "candle") -> str:
    """A file to start from: every key that is in force as a comment, with default and meaning.

    Args:
        profile: What the file starts from.
    """
    return _starter(profile, [leaf for leaf in leaves.leaves().values() if leaf.in_force])


def _starter(profile: str, shown: Sequence[Leaf]) -> str:
    provider = profile if profile in ("candle", "ollama") else "candle"
    lines = [
        "# Settings of llmspell-jupyter. What is not set here comes from the profile that this",
        "# file starts from. To set a key, take away the # before it and before its [table].",
        "",
        f"extends = {_value(profile)}",
    ]
    section = ""
    for leaf in shown:
        table, _, word = leaf.key.replace(leaves.ANY, provider).rpartition(".")
        if table != section:
            section = table
            lines += ["", f"# [{table}]"]
        default = list(leaf.default) if isinstance(leaf.default, tuple) else leaf.default
        value = _value(provider if word == "provider_type" else default)
        lines.append(f"# {word} = {value}  # {leaf.meaning}")
    return "\n".join(lines) + "\n"


def _lines(table: Mapping[str, Any], at: str) -> Iterator[str]:
    plain = {
        name: value
        for name, value in table.items()
        if value is not None and not _is_table(f"{at}.{name}" if at else name, value)
    }
    if plain:
        if at:
            yield ""
            yield f"[{at}]"
        for name, value in plain.items():
            yield f"{_name(name)} = {_value(value)}"
    for name, value in table.items():
        key = f"{at}.{name}" if at else name
        if _is_table(key, value):
            yield from _lines(value, key)


def _is_table(key: str, value: Any) -> bool:
    return isinstance(value, Mapping) and leaves.find(key) is None


def _name(name: str) -> str:
    plain = name.replace("-", "").replace("_", "")
    return name if plain.isascii() and plain.isalnum() else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_name(name)} = {_value(each)}" for name, each in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML does not allow as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    # A key without value stands in a comment only; TOML has no word for it.
    return "..." if value is None else json.dumps(value)
