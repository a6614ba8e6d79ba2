"""The grammar of model names: what a text says, whatever models there are.

A model is named by a word with a variant (``smollm2:135m``), by a repository of the hub with a
quantisation or one of its files (``hf.co/owner/name:Q4_K_M``, or without ``hf.co/``), or by a
path. ``@candle`` and ``@ollama`` behind it, or ``candle/``, ``local/`` and ``ollama/`` before it,
name the backend; any other known provider before it, such as ``openai/``, names who is asked.
Ollama's own names may hold slashes.
"""

from __future__ import annotations

import re

from llmspell_jupyter.errors import InvalidModelSpec
from llmspell_jupyter.models.spec_paths import HUB, is_repository, problem_of_file, shown
from llmspell_jupyter.types import BACKENDS, PROVIDERS, ModelSpec

GRAMMAR = (
    "model[:variant][@backend], hf.co/owner/name[:quantisation] or a path, such as smollm2:135m, "
    "llama3.1:8b@ollama or hf.co/Qwen/Qwen3-0.6B-GGUF:Q8_0"
)

_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = re.compile(rf"(?P<name>{_WORD})(?::(?P<variant>{_WORD}))?")
_OLLAMAS = re.compile(rf"(?P<name>{_WORD}(?:/{_WORD})*)(?::(?P<variant>{_WORD}))?")
# Providers have names of their own kind, with colons.
_PROVIDERS = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._:/-]*)")
_VARIANT = re.compile(_WORD)
_BACKEND = re.compile(r"(?P<rest>.*)@(?P<backend>[^@:/\s]+)", re.DOTALL)
# How the hub's pages show a repository, or a file of its usual branch.
_PAGE = re.compile(
    r"(?P<repository>[^/:]+/[^/:]+)/(?:tree/main/?|(?:blob|resolve)/main/(?P<file>[^?#]+).*)"
)
_LONGEST = 300
_LONGEST_PATH = 4096
_SIZE = re.compile(r"\d+(?:\.\d+)?[mb]", re.IGNORECASE)

# Quantisations as names of GGUF files spell them, between signs that are not part of them.
_QUANTIZATION = re.compile(
    r"(?<![A-Z0-9])(?P<kind>(?:UD[-_])?"
    r"(?:I?Q[1-8](?:_(?:\d|K|NL|P|X{0,3}[SML]))*|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|FP?(?:16|32))"
    r")(?![A-Z0-9])",
    re.IGNORECASE,
)

_BITS = re.compile(r"Q[1-8]")

# From the root, from a drive, from here, from above, from home. No other name begins like this.
_PATH = re.compile(r"/|[A-Za-z]:[\\/]|(\.|\.\.|~[^\\/]*)([\\/]|$)")


def is_path(text: str) -> bool:
    """Whether a model is named by its path: ``/x``, ``./x``, ``../x``, ``~/x`` or ``C:/x``."""
    return bool(_PATH.match(text.strip()))


def canonical(provider: str) -> str:
    """A provider's own name, for a name in any case that may be a synonym."""
    name = provider.strip().lower()
    return BACKENDS.get(name, name)


def known_backend(name: str) -> str:
    """A backend's own name, for a name in any case that may be a synonym.

    Raises:
        InvalidModelSpec: There is none of this name.
    """
    if name.lower() in BACKENDS:
        return canonical(name)
    known = ", ".join(sorted(set(BACKENDS.values())))
    raise InvalidModelSpec(
        f"Backend {shown(name, 40)} is not known. Available backends: {known}.",
        hint=f"Write {GRAMMAR}.",
        data={"backend": name},
    )


def read(text: str) -> ModelSpec | None:
    """What a model name says; None when it does not follow the grammar.

    ``read(str(spec)) == spec`` for all that it returns.

    Raises:
        InvalidModelSpec: It names an unknown backend, two that differ, or a path that is none.
    """
    text = text.strip()
    if is_path(text):
        return _path(text)
    spec = _named(text) if len(text) <= _LONGEST else None
    return None if spec is None or len(str(spec)) > _LONGEST else spec


def split_provider(text: str) -> tuple[str | None, str]:
    """Split ``provider/model`` at its first slash, if what stands before it is a provider.

    Returns:
        The provider (None when no known one is named) and the rest.
    """
    prefix, rest = _split_provider(text.strip())
    return canonical(prefix) if prefix else None, rest


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


def quantization_of(file: str) -> str | None:
    """The quantisation that a GGUF file's name tells, in capitals; None when it tells none.

    Of several the last counts, and a folder's only when the file itself has none. ``FP16`` is
    ``F16``. ``UD-`` stays: such a file is another than the one without it.

    >>> quantization_of("BF16/qwen2-0_5b-instruct-q4_k_m.gguf"), quantization_of("Q8_0/x.gguf")
    ('Q4_K_M', 'Q8_0')
    """
    for part in reversed(file.split("/")):
        found = [match["kind"] for match in _QUANTIZATION.finditer(part)]
        if found:
            return _spelt(found[-1])
    return None


def typed(name: str) -> str:
    """A name as it is typed after a command: in quotes where it is a path with spaces.

    >>> typed("tinyllama"), typed("/my models/a.gguf")
    ('tinyllama', '"/my models/a.gguf"')
    """
    return f'"{name}"' if any(map(str.isspace, name)) else name


def means_quantization(word: str, kind: str) -> bool:
    """Whether a user's word means a quantisation, in any case; ``q4`` means each of 4 bits.

    >>> means_quantization("fp16", "F16"), means_quantization("q4", "Q4_K_M")
    (True, True)
    """
    match = _QUANTIZATION.fullmatch(word)
    asked, kind = _spelt(match["kind"]) if match else word.upper(), kind.upper()
    return asked == kind or (_BITS.fullmatch(asked) is not None and kind.startswith(f"{asked}_"))


def _spelt(kind: str) -> str:
    """A quantisation as all files' names could spell it."""
    return kind.upper().replace("UD_", "UD-").replace("FP16", "F16").replace("FP32", "F32")


def _split_provider(text: str) -> tuple[str | None, str]:
    prefix, slash, rest = text.partition("/")
    if slash and prefix.lower() in PROVIDERS:
        return prefix, rest
    return None, text


def _path(text: str) -> ModelSpec:
    if not text.isprintable() or len(text) > _LONGEST_PATH:
        raise InvalidModelSpec(
            f"{shown(text)} is not a path of a model.",
            hint="Give the file or its folder a name without such characters, and not so long.",
        )
    return ModelSpec(text, kind="path")


def _named(text: str) -> ModelSpec | None:
    prefix, rest = _split_provider(text)
    named = canonical(prefix) if prefix else None
    match = _BACKEND.fullmatch(rest)
    if match is None:
        if named is None or named in BACKENDS.values():
            return _local(rest, named)
        match = _PROVIDERS.fullmatch(rest)
        return match and ModelSpec(match["name"], provider=named)
    backend = known_backend(match["backend"])
    if named is None or named not in BACKENDS.values():
        # Here the word before the slash is an owner, whoever else has that name.
        return _local(text.rpartition("@")[0], backend)
    # "local" is any backend of this machine.
    if named != backend and (prefix or "").lower() != "local":
        raise InvalidModelSpec(
            f"{shown(text)} names two backends, {named} and {backend}.",
            hint=f"Write one of them, such as {match['rest']}@{backend}",
            data={"backend": backend},
        )
    return _local(match["rest"], backend)


def _local(text: str, backend: str | None) -> ModelSpec | None:
    """The spec of a model that runs on this machine."""
    hub = HUB.match(text)
    if backend == "ollama":
        match = _OLLAMAS.fullmatch(re.sub(r"^https?://", "", text, flags=re.IGNORECASE))
        return match and ModelSpec(match["name"], match["variant"], backend)
    if hub is None and "/" not in text.partition(":")[0]:
        match = _NAME.fullmatch(text)
        return match and ModelSpec(match["name"], match["variant"], backend)
    name, colon, variant = text[hub.end() if hub else 0 :].partition(":")
    if hub is not None:
        page = None if colon else _PAGE.fullmatch(name)
        name, variant = (page["repository"], page["file"] or "") if page else (name, variant)
        name = name.removesuffix("/")
    if not is_repository(name) or (hub is None and "/" not in name):
        return None
    if (colon and not variant) or (variant and not _is_variant(variant)):
        return None
    return ModelSpec(name, variant or None, backend, kind="repository")


def _is_variant(text: str) -> bool:
    """Whether a text is a quantisation or a file of a repository."""
    return _VARIANT.fullmatch(text) is not None or (
        problem_of_file(text) is None and "@" not in text and text == text.strip()
    )
