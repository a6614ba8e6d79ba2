"""What commands and magics print about configurations."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any, Literal

from llmspell_jupyter.config import loading, paths, profiles, redaction, writing
from llmspell_jupyter.config.loaded import Difference, Explanation, Loaded, diff

_WIDTH = 98


def listing() -> str:
    """All built-in profiles by group, each with other names and whom it is for."""
    lines = []
    for group, members in groupby(profiles.listing(), key=lambda info: info.group):
        lines.append(f"{group}:")
        for info in members:
            name = ", ".join((info.name, *info.aliases))
            lines += textwrap.wrap(
                f"{name:<24} {info.about}",
                _WIDTH,
                initial_indent="  ",
                subsequent_indent=" " * 27,
            )
    return "\n".join(lines)


def show(loaded: Loaded, section: str, form: Literal["toml", "json"]) -> str:
    """The configuration in force, or a part of it, without secrets.

    Raises:
        ConfigError: There is no such section; the error names the nearest one.
    """
    values = loaded.show(section)
    if form == "json":
        return json.dumps(values, indent=2, ensure_ascii=False)
    if isinstance(values, dict):
        return writing.toml(values, section.strip().strip("[]")).rstrip("\n")
    return redaction.shown(section, values)


def validity(path: str) -> str:
    """Says that a file is right, and what in it is not yet in force.

    Raises:
        ConfigError: It is wrong; one line that begins with file and line.
    """
    loaded = loading.check_file(path)
    lines = [f"{path} is valid."]
    lines += [f"Not yet in force: {key}, {origin.place}" for key, origin in loaded.pending()]
    return "\n".join(lines)


def difference(one: str, other: str) -> str:
    """What two profiles set differently, a key a line.

    Raises:
        UnknownProfile: There is none of a name.
    """
    return changes(diff(_alone(one), _alone(other))) or f"{one} and {other} say the same."


def changes(found: Sequence[Difference]) -> str:
    """Differences, a key a line."""
    return "\n".join(str(each) for each in found)


def explanation(found: Explanation) -> dict[str, Any]:
    """An explanation as JSON values."""
    layers = [{"origin": str(said.origin), "value": said.value} for said in found.layers]
    return asdict(found) | {"set_by": str(found.set_by), "layers": layers}


def profile_facts() -> list[dict[str, Any]]:
    """The built-in profiles as JSON values."""
    return [asdict(info) | {"path": str(info.path)} for info in profiles.listing()]


def canonical(name: str) -> str:
    """The file's name of a profile.

    Raises:
        UnknownProfile: There is none of this name.
    """
    wanted = profiles.canonical(name)
    if wanted not in profiles.names():
        raise profiles.unknown(name)
    return wanted


def _alone(name: str) -> Loaded:
    """A profile by itself: neither variables nor files of the user count."""
    return loading.check_file(paths.builtin_profiles() / f"{canonical(name)}.toml")
