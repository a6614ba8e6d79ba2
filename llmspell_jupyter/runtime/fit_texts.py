"""Whether a model fits, as plain text."""

from __future__ import annotations

from llmspell_jupyter.runtime.sizes import size, table
from llmspell_jupyter.types import Fit, Speed

_WORDS = {"green": "fits", "amber": "is tight", "red": "does not fit"}


def fit(judged: Fit) -> str:
    """The light with its numbers, why it is so, and the need of other lengths of context."""
    what = " ".join(filter(None, (size(judged.size_bytes), judged.quantization)))
    lines = [f"{judged.model} {_WORDS[judged.light]} ({judged.light}) · {what} · {judged.device}"]
    lines += [f"  {each}" for each in judged.reasons]
    if judged.speed is not None:
        lines.append(f"  {_speed(judged.speed)}{_note(judged.speed_note)}")
    elif judged.speed_note:
        lines.append(f"  Speed: {judged.speed_note}")
    if judged.disk_need:
        free = "" if judged.disk_free is None else f", {size(judged.disk_free)} are free"
        lines.append(f"  It takes {size(judged.disk_need)} of the disk{free}.")
    rows = [("CONTEXT", "MEMORY", "")]
    rows += [
        (f"{each.context:,}", size(each.need), "fits" if each.fits else "does not fit")
        for each in judged.contexts
    ]
    return "\n".join([*lines, table(rows)])


def _speed(speed: Speed) -> str:
    how = "measured" if speed.measured else "expected"
    return f"{speed.expected:.3g} tokens a second {how}, {speed.low:.3g} to {speed.high:.3g} likely"


def _note(note: str) -> str:
    return f" ({note})" if note else ""
