"""A loaded configuration, and where each value of it comes from."""

from __future__ import annotations

import textwrap
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmspell_jupyter.config import leaves, redaction, variables
from llmspell_jupyter.config.layers import Given, Layer, Origin
from llmspell_jupyter.config.policy import Policy
from llmspell_jupyter.config.schema import Configuration
from llmspell_jupyter.errors import ConfigError

_DEFAULT = Origin("default")


@dataclass(frozen=True, slots=True)
class Said:
    """What one layer says of a key; ``value`` is as it may be shown."""

    origin: Origin
    value: Any


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything known of one key.

    Attributes:
        key: Its dotted path.
        value: Value in force, as it may be shown.
        type: Type in words.
        allowed: Type and range in words.
        meaning: One sentence.
        unit: Unit of a number; may be empty.
        default: Value when no layer sets it.
        set_by: The layer that decided: its kind, file and line or variable.
        layers: What every layer that knows the key says, the strongest first, the default last.
        in_force: False when the code that would read the key has not landed.
        fixed_by_admin: Who fixed it; None when it is free.
        variable: Its environment variable.
    """

    key: str
    value: Any
    type: str
    allowed: str
    meaning: str
    unit: str
    default: Any
    set_by: Origin
    layers: tuple[Said, ...]
    in_force: bool
    fixed_by_admin: str | None
    variable: str

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit and self.value is not None else ""
        lines = [
            f"{self.key} = {redaction.shown(self.key, self.value)}{unit}",
            textwrap.indent(textwrap.fill(self.meaning, 90), "  "),
            f"  It can be {self.allowed}.",
            f"  Set by    {self.set_by}",
        ]
        lines += [
            f"  Not used  {redaction.shown(self.key, said.value)}: {said.origin}"
            for said in self.layers
            if said.origin != self.set_by
        ]
        lines.append(f"  Variable  {self.variable}")
        if self.fixed_by_admin:
            lines.append(f"  Fixed by {self.fixed_by_admin}; nothing of yours changes it.")
        if not self.in_force:
            lines.append("  Not yet in force: the part that reads it has not landed.")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that two configurations set differently; a value that one does not have is None."""

    key: str
    one: Any
    other: Any

    def __str__(self) -> str:
        one, other = (redaction.shown(self.key, each) for each in (self.one, self.other))
        return f"{self.key}: {one} -> {other}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration in force.

    Attributes:
        name: Name of the profile; that of the file when one was named.
        path: File of the profile, or the file.
        configuration: The checked values, defaults included.
        layers: What was read, the strongest first; layers that say nothing are left out.
        values: What is set by any layer, by key, each with its origin.
        notices: Lines that the user should see: what an administrator keeps, unknown variables.
        policy: What the administrator fixes and allows.
    """

    name: str
    path: Path
    configuration: Configuration = field(repr=False)
    layers: tuple[Layer, ...] = field(default=(), repr=False)
    values: Mapping[str, Given] = field(default_factory=dict, repr=False)
    notices: tuple[str, ...] = ()
    policy: Policy = field(default_factory=Policy, repr=False)

    def explain(self, key: str) -> Explanation:
        """Where the value of a key comes from.

        Raises:
            ConfigError: There is no such key; the error names the nearest one.
        """
        key = _checked(key)
        leaf = leaves.find(key)
        if leaf is None:
            raise _unknown(key)
        given = self.values.get(key)
        said = [
            Said(layer.values[key].origin, redaction.redact(key, layer.values[key].value))
            for layer in self.layers
            if key in layer.values
        ]
        default = redaction.redact(key, _json(leaf.default))
        if not any(each.origin == _DEFAULT for each in said):
            said.append(Said(_DEFAULT, default))
        value = _look_up(self.show(), key)
        fixed = given is not None and given.origin.layer == "administrator"
        return Explanation(
            key=key,
            value=value,
            type=leaf.type,
            allowed=leaf.allowed,
            meaning=leaf.meaning,
            unit=leaf.unit,
            default=default,
            set_by=given.origin if given else _DEFAULT,
            layers=tuple(said),
            in_force=leaf.in_force,
            fixed_by_admin=given.origin.name if given and fixed else None,
            variable=variables.name(key),
        )

    def show(self, section: str = "") -> Any:
        """The configuration, or a part of it, as JSON values without secrets.

        Args:
            section: A table or a key, such as ``rag.embedding``; empty for all.

        Raises:
            ConfigError: There is no such table or key; the error names the nearest one.
        """
        shown = redaction.redact("", self.configuration.model_dump(mode="json"))
        if not section:
            return shown
        key = _checked(section)
        if leaves.find(key) is None and leaves.pattern(key) not in leaves.sections():
            raise _unknown(key)
        return _look_up(shown, key)

    def pending(self) -> tuple[tuple[str, Origin], ...]:
        """Keys that a layer sets although they are not yet in force, and where."""
        return tuple(
            (key, given.origin)
            for key, given in self.values.items()
            if (leaf := leaves.find(key)) is not None and not leaf.in_force
        )

    def changed(self) -> Mapping[str, Any]:
        """The keys that any layer sets, with their values as they may be shown."""
        shown = self.show()
        return types.MappingProxyType({key: _look_up(shown, key) for key in self.values})


def diff(one: Loaded, other: Loaded) -> tuple[Difference, ...]:
    """The keys that two configurations differ in; keys that neither sets are left out.

    Secrets are compared and never shown.
    """
    first, second = (each.configuration.model_dump() for each in (one, other))
    place = {key: number for number, key in enumerate(leaves.leaves())}
    keys = sorted({*one.values, *other.values}, key=lambda key: (place[leaves.pattern(key)], key))
    return tuple(
        Difference(
            key,
            redaction.redact(key, _json(_look_up(first, key))),
            redaction.redact(key, _json(_look_up(second, key))),
        )
        for key in keys
        if _look_up(first, key) != _look_up(second, key)
    )


def _checked(key: str) -> str:
    return key.strip().strip("[]")


def _unknown(key: str) -> ConfigError:
    shown = redaction.printable(key, 100)
    if leaves.pattern(key) in leaves.sections():
        known = ", ".join(leaves.known_in(key))
        return ConfigError(f"{shown} is a table, not a key; it has {known}.", data={"key": shown})
    near = leaves.nearest(key)
    known = ", ".join(each for each in leaves.known_in("") if each != leaves.ANY)
    said = f"did you mean {near.replace(leaves.ANY, 'NAME')}" if near else f"tables are {known}"
    mark = "?" if near else "."
    return ConfigError(f"{shown} is not a known key; {said}{mark}", data={"key": shown})


def _look_up(table: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(table, Mapping) or part not in table:
            return None
        table = table[part]
    return table


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
