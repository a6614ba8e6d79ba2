"""The grammar of model names, ``[provider/]model[:variant][@backend]``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from llmspell_jupyter.errors import InvalidModelSpec
from llmspell_jupyter.types import ModelSpec

GRAMMAR = "model[:variant][@backend], such as smollm2:135m or llama3.1:8b@ollama"

#: Backends by name; a synonym stands for the name beside it.
BACKENDS = {"candle": "candle", "local": "candle", "ollama": "ollama"}

#: Prefixes of ``provider/model``. Any other text before a slash belongs to the model's name.
PROVIDERS = frozenset(
    {
        *BACKENDS,
        *("openai", "anthropic", "cohere", "gemini", "groq", "mistral"),
        *("perplexity", "together", "replicate", "fireworks"),
    }
)

_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_SPEC = re.compile(
    rf"(?P<name>{_WORD}(?:/{_WORD})*)(?::(?P<variant>{_WORD}))?(?:@(?P<backend>[^@:/\s]+))?"
)
_LONGEST = 300
_SIZE = re.compile(r"\d+(?:\.\d+)?[mb]", re.IGNORECASE)


# From the root, from a drive, from here, from above, from home. No spec begins like this.
_PATH = re.compile(r"/|[A-Za-z]:[\\/]|(\.|\.\.|~[^\\/]*)([\\/]|$)")


def is_path(text: str) -> bool:
    """Whether a model is named by its path: ``/x``, ``./x``, ``../x``, ``~/x`` or ``C:/x``.

    Such a text is never a spec.
    """
    return bool(_PATH.match(text.strip()))


def absolute(text: str) -> str:
    """A model's path from the root, for one that may begin at home or in the working folder.

    Raises:
        InvalidModelSpec: There is no such home.
    """
    try:
        path = Path(text.strip()).expanduser().absolute()
    except RuntimeError as error:
        raise InvalidModelSpec(
            f"{text.strip()[:80]!r} is not a path here: {error}.",
            hint="Write the whole path of the model, from the root.",
        ) from None
    return os.path.normpath(path)


def canonical(provider: str) -> str:
    """A provider's own name, for a name in any case that may be a synonym."""
    name = provider.strip().lower()
    return BACKENDS.get(name, name)


def parse(text: str) -> ModelSpec:
    """Read a model name.

    Raises:
        InvalidModelSpec: The text does not follow the grammar or names an unknown backend.
    """
    text = text.strip()
    match = _SPEC.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        shown = repr(text if len(text) <= 80 else text[:77] + "...")
        raise InvalidModelSpec(
            f"{shown} is not a model name." if text else "The model name is empty.",
            hint=f"Write {GRAMMAR}; %model_list shows the models on this machine.",
        )
    backend = match["backend"]
    if backend is not None and backend.lower() not in BACKENDS:
        known = ", ".join(sorted(set(BACKENDS.values())))
        raise InvalidModelSpec(
            f"Backend {backend!r} is not known. Available backends: {known}.",
            hint=f"Write {GRAMMAR}.",
            data={"backend": backend},
        )
    return ModelSpec(
        name=match["name"],
        variant=match["variant"],
        backend=canonical(backend) if backend else None,
    )


def split_provider(text: str) -> tuple[str | None, str]:
    """Split ``provider/model`` at its first slash, if what stands before it is a provider.

    Returns:
        The provider (None when no known one is named) and the rest.
    """
    prefix, slash, rest = text.strip().partition("/")
    if slash and prefix.lower() in PROVIDERS:
        return canonical(prefix), rest
    return None, text.strip()


def split_variant(variant: str | None) -> tuple[str | None, str | None]:
    """Split a variant into size and quantisation, either of which may be missing.

    >>> split_variant("135m-Q4_1"), split_variant("8b"), split_variant("Q4_K_M")
    (('135m', 'Q4_1'), ('8b', None), (None, 'Q4_K_M'))
    """
    if variant is None:
        return None, None
    size, dash, quantization = variant.partition("-")
    if _SIZE.fullmatch(size):
        return size, quantization if dash else None
    return None, variant
