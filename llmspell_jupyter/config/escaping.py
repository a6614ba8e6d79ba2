"""Foreign text on terminals and pages: what would act there is shown instead.

Imports nothing, so that workers can use it.
"""

from __future__ import annotations


def printable(text: str, longest: int | None = None) -> str:
    """The text on one line.

    Args:
        text: Whatever came.
        longest: Most characters that are shown; None shows all.
    """
    return _escaped(text, longest, "")


def printable_lines(text: str, longest: int | None = None) -> str:
    """The same over several lines: their ends stay, and tabs."""
    return _escaped(text, longest, "\n\t")


def quoted(said: object, longest: int = 200) -> str:
    """What somebody else said, for the middle of a sentence: on one line, without a full stop."""
    line = " ".join(str(said).split()) or type(said).__name__
    return printable(line, longest).rstrip(".")


def _escaped(text: str, longest: int | None, kept: str) -> str:
    shown = "".join(
        each
        if each.isprintable() or each in kept
        else each.encode("unicode_escape").decode("ascii")
        for each in (text if longest is None else text[: longest + 1])
    )
    return shown if longest is None or len(shown) <= longest else shown[: longest - 3] + "..."
