"""Foreign text on terminals and pages: what would act there is shown instead.

Imports nothing, so that workers can use it.
"""

from __future__ import annotations


def printable(text: str, longest: int | None = None) -> str:
    """The text on one line.

    Args:
        text: Whatever came.
        longest: Most characters of it that are shown; None shows all.
    """
    return _escaped(text, longest, "")


def printable_lines(text: str, longest: int | None = None) -> str:
    """The same over several lines: their ends stay, and tabs."""
    return _escaped(text, longest, "\n\t")


def _escaped(text: str, longest: int | None, kept: str) -> str:
    cut = text if longest is None or len(text) <= longest else text[: longest - 3] + "..."
    return "".join(
        each
        if each.isprintable() or each in kept
        else each.encode("unicode_escape").decode("ascii")
        for each in cut
    )
