"""Whether a model fits, as a light with words: nobody has to tell colours apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmspell_jupyter.runtime import sizes
from llmspell_jupyter.types import Fit, Speed
from llmspell_jupyter.widgets import text

Light = Literal["green", "amber", "red", "unknown"]

#: From the best to the worst.
LIGHTS: tuple[Light, ...] = ("green", "amber", "red", "unknown")


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a model fits into this machine.

    Attributes:
        words: A few, with a sign before them that differs for each light.
        detail: The numbers behind it.
    """

    light: Light
    words: str
    detail: str = ""


def unknown(why: Exception) -> Judgement:
    """A model of which nobody can tell."""
    return Judgement("unknown", "? unknown", text.error(why))


def of(fit: Fit) -> Judgement:
    """What a fit says, in a few words and in all of them."""
    speed = f" · {_speed(fit.speed)} t/s" if fit.speed and fit.light != "red" else ""
    lines = (
        f"{sizes.size(fit.need)} needed for {fit.context} tokens on {fit.device}",
        f"{sizes.size(fit.free)} are free {fit.free_where}".rstrip(),
        *fit.reasons,
        fit.speed_note,
    )
    detail = " · ".join(text.shown(each) for each in lines if each)
    return Judgement(fit.light, f"{_SIGNS[fit.light]}{speed}", detail)


def _speed(speed: Speed) -> str:
    low, high = (f"{each:.0f}" if each >= 10 else f"{each:.1f}" for each in (speed.low, speed.high))
    return low if low == high else f"{low}-{high}"


_SIGNS = {"green": "● fits", "amber": "▲ tight", "red": "✕ too big"}
