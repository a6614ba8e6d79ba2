"""The browser where nothing lives: a table of plain text."""

from __future__ import annotations

from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.widgets import entries, filtering, judgement, looks
from llmspell_jupyter.widgets.judgement import Judgement
from llmspell_jupyter.widgets.source import Source
from llmspell_jupyter.widgets.state import State


def of(source: Source, *, fits: bool) -> str:
    """The models of this machine and those that can be had without asking any server.

    Args:
        source: The models.
        fits: Judge those of this machine; the table is then not the same everywhere.
    """
    found = entries.merged(source.installed(), source.known())
    state = State(entries={each.key: each for each in found}, loaded=source.loaded())
    if fits:
        state.fits = {each.key: _fit(source, each.id) for each in found}
    keys = filtering.selected(state, filtering.Choice(order="name"))
    return looks.table([looks.look(state, state.entries[key]) for key in keys], fits=fits)


def _fit(source: Source, name: str) -> Judgement:
    try:
        return source.fit(name)
    except LLMSpellError as error:
        return judgement.unknown(error)
