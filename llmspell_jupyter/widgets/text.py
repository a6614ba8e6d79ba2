"""Words and numbers on controls. What comes from models and servers passes ``shown`` first."""

from __future__ import annotations

from collections.abc import Iterator

from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.runtime.sizes import size
from llmspell_jupyter.types import PullPhase, PullProgress

_MOST = 200

# Labels pass their text to MathJax, and TeX may hold links: its marks are replaced by their look.
_TEX = str.maketrans({"$": "\uff04", "\\": "\uff3c"})


def shown(text: str, most: int = _MOST) -> str:
    """Foreign text as one short line without power over the page.

    Control characters and marks that turn or hide text are replaced, and no TeX is left. It must
    still go only where text stays text: into values of labels and boxes, never into HTML.
    """
    line = " ".join(text[: 4 * most].split())
    clean = "".join(each if each.isprintable() else "\ufffd" for each in line).translate(_TEX)
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def duration(seconds: float) -> str:
    """A time to wait: ``5 s``, ``12 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def progress(of: PullProgress) -> str:
    """How far a pull is, with all that is known of it."""
    return " · ".join(_facts(of))


def progress_briefly(of: PullProgress) -> str:
    """How far a pull is, for a narrow column."""
    if of.phase is not PullPhase.DOWNLOADING:
        return str(of.phase) if of.percent is None else f"{of.phase} {of.percent} %"
    parts = [size(of.done) if of.percent is None else f"{of.percent} %"]
    if of.bytes_per_second:
        parts.append(f"{size(round(of.bytes_per_second))}/s")
    if of.seconds_left is not None:
        parts.append(duration(of.seconds_left))
    return " · ".join(parts)


def error(what: Exception) -> str:
    """An error in one line, with what to type next."""
    if isinstance(what, LLMSpellError):
        return shown(f"{what.message} {what.hint}", 2 * _MOST)
    return shown(f"{type(what).__name__}: {what}")


def _facts(of: PullProgress) -> Iterator[str]:
    yield str(of.phase)
    if of.percent is not None:
        yield f"{of.percent} %"
    if of.total is not None:
        yield f"{size(of.done)} of {size(of.total)}"
    elif of.done:
        yield size(of.done)
    if of.bytes_per_second and of.phase is PullPhase.DOWNLOADING:
        yield f"{size(round(of.bytes_per_second))}/s"
    if of.seconds_left is not None and of.phase is PullPhase.DOWNLOADING:
        yield f"{duration(of.seconds_left)} left"
    if len(of.files) > 1:
        whole = sum(each.done == each.total for each in of.files)
        yield f"{whole} of {len(of.files)} files"
    if of.note:
        yield shown(of.note)
