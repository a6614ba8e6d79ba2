"""What to say of a name that stands for no model: the nearest ones, and what else there is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from llmspell_jupyter.errors import ModelNotFound
from llmspell_jupyter.models import catalog
from llmspell_jupyter.models.grammar import GRAMMAR
from llmspell_jupyter.types import Lookup, ModelSpec

_LONGEST = 80
_CUTOFF = 0.6
_MOST = 60
_LOOKUP = Lookup()


def names(
    text: str, lookup: Lookup = _LOOKUP, further: Iterable[str] = (), most: int = 3
) -> list[str]:
    """Names of models that are spelled much like a text, the nearest first.

    Args:
        text: What was typed; it need not follow the grammar.
        lookup: Names further catalogs.
        further: Names beside those of the catalogs, such as of models on this machine.
        most: How many at most.
    """
    wanted = re.sub(r"[^a-z0-9.:-]+", "-", text.lower().rpartition("/")[2].partition("@")[0])
    wanted = wanted.strip("-.:")
    if not 2 < len(wanted) <= _LONGEST:
        return []
    models = catalog.models(lookup).values()
    known = {each.lower(): each for each in further}
    for model in models:
        for name in (model.name, *model.aliases):
            known.setdefault(name.lower(), model.name)
    # A quantisation behind the name is no part of what is looked up.
    found = difflib.get_close_matches(wanted, known, n=2 * most, cutoff=_CUTOFF)
    if not found and ":" in wanted:
        found = difflib.get_close_matches(wanted.partition(":")[0], known, 2 * most, _CUTOFF)
    return list(dict.fromkeys(known[each] for each in found))[:most]


def unknown(wanted: ModelSpec, lookup: Lookup = _LOOKUP) -> ModelNotFound:
    """The error for a name that no catalog has and that is not that of a repository.

    Args:
        wanted: What was asked for.
        lookup: Names further catalogs.
    """
    near = names(wanted.id, lookup)
    if near:
        offer = f"Did you mean {' or '.join(near)}?"
    else:
        offer = f"By their names alone there are {', '.join([*catalog.models(lookup)][:_MOST])}."
    return ModelNotFound(
        f"No catalog has a model {wanted.id!r}.",
        hint=f"{offer} %model_available lists what can be had. Write {GRAMMAR}. What Ollama has "
        f"is named {wanted.id}@ollama, and a file that you have by its path.",
        data={"model": wanted.id, "nearest": near},
    )
