"""Built-in profiles: NAME.toml in the folder is profile NAME."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmspell_jupyter.config import files, paths, redaction
from llmspell_jupyter.config.layers import Kind, Layer, Origin, problem
from llmspell_jupyter.errors import UnknownProfile

#: Names that stand for other names.
ALIASES: Mapping[str, str] = types.MappingProxyType(
    {
        "local": "candle",
        "rag-dev": "rag-development",
        "rag-prod": "rag-production",
        "rag-perf": "rag-performance",
    }
)

#: Profile of a notebook that names none: it answers without key, server or network.
DEFAULT = "candle"

# In the order in which rs-llmspell lists them; a profile of no group stands in the last.
_GROUPS = {
    "Core": ("minimal", "development"),
    "Common": ("providers", "state", "sessions"),
    "Local LLM": ("ollama", "candle"),
    "RAG": ("rag-development", "rag-production", "rag-performance"),
}
_OTHERS = "More"

_MOST_BASES = 8


@dataclass(frozen=True, slots=True)
class ProfileInfo:
    """A built-in profile, for lists.

    Attributes:
        name: The file's name without suffix.
        aliases: Other names of it.
        group: Heading under which it is listed.
        about: Whom it is for: the comment that opens the file, on one line.
        path: The file.
    """

    name: str
    aliases: tuple[str, ...]
    group: str
    about: str
    path: Path


def names() -> list[str]:
    """Names of the built-in profiles."""
    return sorted(path.stem for path in paths.builtin_profiles().glob("*.toml"))


def canonical(name: str) -> str:
    """The name of the file, for a name that may be an alias."""
    return ALIASES.get(name.strip(), name.strip())


def listing() -> list[ProfileInfo]:
    """All built-in profiles, by group, in the order of lists."""
    found = {name: group for group, members in _GROUPS.items() for name in members}
    order = {name: place for place, name in enumerate(found)}
    infos = [
        ProfileInfo(
            name,
            tuple(alias for alias, target in ALIASES.items() if target == name),
            found.get(name, _OTHERS),
            _about(_path(name)),
            _path(name),
        )
        for name in names()
    ]
    return sorted(infos, key=lambda info: (order.get(info.name, len(order)), info.name))


def grouped() -> str:
    """All names on one line, by group: ``Core: minimal, development; Common: ...``."""
    groups: dict[str, list[str]] = {}
    for info in listing():
        shortest = min((info.name, *info.aliases), key=len) if info.group == "RAG" else info.name
        groups.setdefault(info.group, []).append(shortest)
    return "; ".join(f"{group}: {', '.join(members)}" for group, members in groups.items())


def unknown(name: str) -> UnknownProfile:
    """The error for a profile that there is not; it lists all, by group."""
    near = difflib.get_close_matches(name.strip()[:80], [*names(), *ALIASES], n=1)
    return UnknownProfile(
        f"Unknown builtin profile '{redaction.printable(name)}'. Available profiles: {grouped()}.",
        hint=f"Type: %llmspell_profile {near[0] if near else DEFAULT}",
        data={"profile": name[:80], "available": names()},
    )


def that_set_up(provider: str) -> list[str]:
    """Names of the profiles that set up this provider, the one of its own name first."""
    key = f"providers.{provider}.provider_type"
    found = [name for name in names() if any(key in each.values for each in layers(name))]
    return sorted(found, key=lambda name: (name != provider, name != "providers", name))


def layers(name: str, kind: Kind = "profile") -> list[Layer]:
    """What a profile and those that it starts from say, the strongest first.

    Raises:
        UnknownProfile: There is none of this name; the error lists all.
        ConfigError: A file is wrong, or the profiles go in a circle.
    """
    wanted = canonical(name)
    if wanted not in names():
        raise unknown(name)
    first = files.read(_path(wanted), kind, wanted)
    return [first, *bases(first, kind)]


def bases(layer: Layer, kind: Kind) -> list[Layer]:
    """What the profiles say that a file starts from, the nearest first.

    Raises:
        ConfigError: One is unknown, or they go in a circle.
    """
    found: list[Layer] = []
    chain = [layer.origin.name or layer.origin.place]
    while layer.extends is not None:
        name, line = layer.extends
        at = Origin(kind, layer.origin.name, layer.origin.path, line)
        wanted = canonical(name)
        chain.append(wanted)
        if wanted not in names():
            raise problem(
                at,
                "extends",
                f'extends is "{redaction.printable(name)}"; it can be one of {", ".join(names())}.',
            )
        if wanted in chain[:-1] or len(chain) > _MOST_BASES:
            circle = "goes in a circle" if wanted in chain[:-1] else "goes too far"
            raise problem(at, "extends", f"extends {circle}: {' -> '.join(chain)}.")
        layer = files.read(_path(wanted), kind, wanted)
        found.append(layer)
    return found


def _path(name: str) -> Path:
    return paths.builtin_profiles() / f"{name}.toml"


def _about(path: Path) -> str:
    lines = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return redaction.printable(" ".join(lines), 300)
