"""Which models the browser shows, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmspell_jupyter.widgets.entries import Entry
from llmspell_jupyter.widgets.judgement import LIGHTS
from llmspell_jupyter.widgets.state import State

#: What may be shown.
SHOWN = ("all", "installed", "available", "running")

#: What may be sorted by.
ORDERS = ("state", "name", "size", "licence", "fit")

_STATES = ("running", "loading", "pulling", "stopping", "installed", "available")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user wants to see.

    Attributes:
        text: Words that all occur in name, title, licence, quantisation or state.
        which: One of ``SHOWN``.
        order: One of ``ORDERS``.
    """

    text: str = ""
    which: str = "all"
    order: str = "state"


def selected(state: State, choice: Choice) -> list[str]:
    """Keys of the models that are wanted, in order."""
    words = choice.text.lower().split()
    wanted = [
        each
        for each in state.entries.values()
        if state.shows(each, choice.which) and _holds(state, each, words)
    ]
    return [each.key for each in sorted(wanted, key=lambda each: _rank(state, each, choice.order))]


def _holds(state: State, entry: Entry, words: list[str]) -> bool:
    facts = (entry.id, entry.title, entry.license, entry.quantization, state.word(entry))
    text = " ".join(filter(None, facts)).lower()
    return all(each in text for each in words)


def _rank(state: State, entry: Entry, order: str) -> tuple[Any, ...]:
    """What is unknown comes last."""
    name = entry.id.lower()
    if order == "size":
        return (entry.size_bytes is None, entry.size_bytes or 0, name)
    if order == "licence":
        return (entry.license is None, (entry.license or "").lower(), name)
    if order == "fit":
        fit = state.fits.get(entry.key)
        return (LIGHTS.index(fit.light) if fit else len(LIGHTS), name)
    if order == "state":
        word = state.word(entry)
        return (_STATES.index(word) if word in _STATES else 0, name)
    return (name,)
