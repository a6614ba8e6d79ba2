"""What to say of a name that stands for no model: the nearest ones, and what else there is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from llmspell_jupyter.errors import ModelNotFound
from llmspell_jupyter.types import Lookup, ModelSpec

_LONGEST = 80
_LOOKUP = Lookup()


def names(
    text: str, lookup: Lookup = _LOOKUP, further: Iterable[str] = (), most: int = 3
) -> list[str]:
    """Names of models that are spelled much like a text, the nearest first.

    Args:
        text: What was typed; it need not follow the grammar.
        lookup: Names further catalogs.
        further: Names beside those of the catalog, such as of models on this machine.
        most: How many at most.
    """
    wanted = re.sub(r"[^a-z0-9.:-]+", "-", text.lower().partition("@")[0]).strip("-")
    if not 2 < len(wanted) <= _LONGEST:
        return []
    known = dict.fromkeys([*further, *_known(lookup)])
    return difflib.get_close_matches(wanted, known, n=most, cutoff=0.6)


def unknown(wanted: ModelSpec, lookup: Lookup = _LOOKUP) -> ModelNotFound:
    """The error for a name that is neither in a catalog nor a repository of the hub.

    Args:
        wanted: What was asked for.
        lookup: Names further catalogs.
    """
    from llmspell_jupyter.models.spec import GRAMMAR

    near = names(wanted.id, lookup)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    return ModelNotFound(
        f"No catalog here knows a model {wanted.id!r}.",
        hint=f"{meant}%model_available lists what can be had. Write {GRAMMAR}; a file that you "
        f"have is named by its path, and what Ollama has by {wanted.id}@ollama",
        data={"model": wanted.id, "nearest": near},
    )


def _known(lookup: Lookup) -> Iterable[str]:
    return ("smollm2:135m", "all-minilm-l6-v2")
