"""Which libraries are too old to be safe, told from package metadata alone."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version

from llmspell_jupyter.errors import BackendOutdated

#: The oldest versions of libraries that are safe, and what older ones let through.
FLOORS = {
    "torch": ("2.6", "run code from weights files (CVE-2025-32434)"),
    "transformers": ("5.3", "run code that a config.json names (CVE-2026-4372)"),
    "jinja2": ("3.1.6", "let a model's chat template out of its sandbox (CVE-2025-27516)"),
    "jupyter_server": ("2.18", "take requests from foreign web pages (CVE-2026-40110)"),
}

_RELEASE = re.compile(r"\s*v?(?:\d+!)?(\d+(?:\.\d+)*)(.*)", re.DOTALL)
_BEFORE = re.compile(r"[-_.]?(a|b|c|rc|alpha|beta|pre|preview|dev)\d*", re.IGNORECASE)


def check(*packages: str) -> None:
    """Make sure that libraries are new enough, before any of them is imported.

    A library that is not installed passes: importing it says so.

    Args:
        packages: Their names, of those in ``FLOORS``.

    Raises:
        BackendOutdated: One is too old; the hint is the line that mends it.
    """
    for package in packages:
        found = _too_old(package)
        if found is not None:
            line = _install_line(package)
            raise BackendOutdated(
                _says(package, found),
                hint=f"Type in a terminal: {line}",
                data={"package": package, "version": found, "install": line},
            )


def warnings() -> list[str]:
    """One line for each installed library that is too old; none is imported."""
    return [
        f"{_says(package, found)} Type in a terminal: {_install_line(package)}"
        for package in FLOORS
        if (found := _too_old(package)) is not None
    ]


def _too_old(package: str) -> str | None:
    """The installed version if it is below the floor, or cannot be read."""
    try:
        found = version(package)
    except PackageNotFoundError:
        return None
    return None if _number(found) >= _number(FLOORS[package][0]) else found or "?"


def _number(text: str | None) -> tuple[tuple[int, ...], bool]:
    """A version as something to compare; a pre-release comes before its release."""
    match = _RELEASE.match(text or "")
    if match is None:
        return (), False
    parts = [int(part) for part in match[1].split(".")]
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts), not _BEFORE.match(match[2])


def _says(package: str, found: str) -> str:
    floor, danger = FLOORS[package]
    return f"{package} {found} is installed; versions before {floor} {danger}."


def _install_line(package: str) -> str:
    python = shlex.quote(sys.executable or "python")
    return f'{python} -m pip install --upgrade "{package}>={FLOORS[package][0]}"'
