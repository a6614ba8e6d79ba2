"""A catalog's file: which models there are, where, and how large.

The head of ``builtins/models.toml`` says what stands in it.
"""

from __future__ import annotations

import re
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from llmspell_jupyter.errors import ConfigError, InvalidModelSpec
from llmspell_jupyter.models import grammar, spec_paths

_MOST_BYTES = 1024 * 1024
_MOST_MODELS = 3_000
_MOST_FILES = 200
_MOST = 10**14

_FORMATS = ("GGUF", "safetensors")
_TASKS = ("generate", "embed")
_QUANTIZATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}")


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """A file of weights.

    Attributes:
        path: Its path in the repository.
        size_bytes: Its bytes; 0 when unknown.
        estimated: The size was computed from the number of weights, and not read off.
    """

    path: str
    size_bytes: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class CatalogShape:
    """What a model's memory and speed follow from.

    Attributes:
        layers: Blocks; of a model with encoder and decoder those of each.
        width: Numbers of one token between the layers.
        heads: Attention heads.
        key_heads: Heads of keys and values; fewer where several heads share them.
        head: Numbers of one head.
        inner: Numbers of one token inside the layers that are not attention.
        vocabulary: Tokens.
    """

    layers: int
    width: int
    heads: int
    key_heads: int
    head: int
    inner: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A model of a catalog.

    Attributes:
        name: What users type, such as ``tinyllama``.
        repository: On the hub, ``owner/name``.
        aliases: Other names of it.
        title: One line about it.
        format: ``GGUF`` or ``safetensors``.
        files: Weights by quantisation, a single one in several parts where it is split; empty
            when the catalog leaves it to the repository.
        quantization: The usual one; None when the catalog names no files.
        parameter_count: Number of weights; None when unknown.
        license: SPDX identifier, lower-case; None when unknown.
        context_length: Tokens the model was trained to hold; None when unknown.
        architecture: As in its files, such as ``llama``; None when unknown.
        tasks: ``generate``, ``embed`` or both.
        gated: Its owner wants a token and an accepted licence.
        shape: None when unknown.
    """

    name: str
    repository: str
    aliases: tuple[str, ...] = ()
    title: str = ""
    format: str = "GGUF"
    files: Mapping[str, tuple[CatalogFile, ...]] = field(default_factory=dict)
    quantization: str | None = None
    parameter_count: int | None = None
    license: str | None = None
    context_length: int | None = None
    architecture: str | None = None
    tasks: tuple[str, ...] = ("generate",)
    gated: bool = False
    shape: CatalogShape | None = None

    def id(self, quantization: str | None = None) -> str:
        """The id of the model in a quantisation, as it is listed once it is here.

        Safetensors have none to choose from, and go by their name.
        """
        if self.format != "GGUF" or not quantization:
            return self.name
        return f"{self.name}{'-' if ':' in self.name else ':'}{quantization}"

    def offers(self, quantization: str) -> str | None:
        """The quantisation of the catalog that is meant; None when it has none such.

        ``q4`` means the usual one of 4 bits, else the first.
        """
        wanted = quantization.lower()
        found = [each for each in self.files if each.lower() == wanted]
        if not found and re.fullmatch(r"q[1-8]", wanted):
            found = [each for each in self.files if each.lower().startswith(f"{wanted}_")]
            found = [self.quantization] if self.quantization in found else found
        return found[0] if found else None

    def size_bytes(self, quantization: str | None = None) -> int | None:
        """Bytes of the weights, of the usual quantisation if none is named; None when unknown."""
        files = self.files.get(quantization or self.quantization or "", ())
        return sum(each.size_bytes for each in files) or None


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a file says.

    Attributes:
        models: Its models, in its order.
        notes: A line for each entry that is wrong and was left out.
    """

    models: tuple[CatalogModel, ...]
    notes: tuple[str, ...] = ()


def read(path: Path) -> Catalog:
    """Read a catalog; an entry that is wrong is left out, with a note.

    Raises:
        ConfigError: It is not a file, too large, or no TOML with a list ``model``.
        OSError: It cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"There is no catalog {path}.")
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"Catalog {path} is larger than {_MOST_BYTES:,} bytes.")
    try:
        entries = tomllib.loads(data.decode()).get("model")
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"Catalog {path} is no TOML: {error}.") from None
    if not isinstance(entries, list) or len(entries) > _MOST_MODELS:
        raise ConfigError(f"Catalog {path} has no list [[model]], or one that is too long.")
    models, notes = [], []
    for number, entry in enumerate(entries, 1):
        try:
            models.append(_model(entry))
        except ValueError as error:
            named = entry.get("name") if isinstance(entry, dict) else None
            which = repr(named[:80]) if isinstance(named, str) else f"number {number}"
            notes.append(f"Catalog {path}: model {which} is left out: {error}.")
    return Catalog(tuple(models), tuple(notes))


def _model(entry: Any) -> CatalogModel:
    if not isinstance(entry, dict):
        raise ValueError("it is not a table")
    rest = dict(entry)
    name = _name(rest.pop("name", None))
    repository = rest.pop("repository", None)
    if (
        not isinstance(repository, str)
        or "/" not in repository
        or not spec_paths.is_repository(repository)
    ):
        raise ValueError("repository is not owner/name")
    pattern = rest.pop("file", None)
    files = _files(rest.pop("files", {}), pattern)
    files |= _files(rest.pop("estimated", {}), pattern, estimated=True)
    usual = rest.pop("quantization", next(iter(files), None))
    if files and usual not in files:
        raise ValueError("quantization is none of its files")
    shape = rest.pop("shape", None)
    model = CatalogModel(
        name=name,
        repository=repository,
        aliases=tuple(_name(each) for each in _list(rest.pop("aliases", []))),
        title=_text(rest, "title") or "",
        format=_among("format", rest.pop("format", "GGUF"), _FORMATS),
        files=types.MappingProxyType(files),
        quantization=usual if usual is None else _quantization(usual),
        parameter_count=_number(rest, "parameters"),
        license=(_text(rest, "license") or "").lower() or None,
        context_length=_number(rest, "context"),
        architecture=_text(rest, "architecture"),
        tasks=tuple(
            _among("tasks", each, _TASKS) for each in _list(rest.pop("tasks", ["generate"]))
        ),
        gated=_flag(rest, "gated"),
        shape=None if shape is None else _shape(shape),
    )
    if rest:
        raise ValueError(f"there is no key {next(iter(rest))[:40]!r}")
    return model


def _name(value: Any) -> str:
    try:
        found = grammar.read(value) if isinstance(value, str) else None
    except InvalidModelSpec:
        found = None
    if found is None or found.kind != "name" or found.backend or found.provider:
        raise ValueError("a name is not of the form name or name:size")
    return found.id


def _files(
    value: Any, pattern: Any, *, estimated: bool = False
) -> dict[str, tuple[CatalogFile, ...]]:
    if not isinstance(value, dict) or len(value) > _MOST_FILES:
        raise ValueError("files is not a table of quantisations")
    return {
        _quantization(key): tuple(_parts(key, each, pattern, estimated))
        for key, each in value.items()
    }


def _parts(quantization: str, value: Any, pattern: Any, estimated: bool) -> Iterable[CatalogFile]:
    """Files of a quantisation: a size, where a pattern gives the path, or a list of files."""
    if _is_size(value) and isinstance(pattern, str):
        path = pattern.replace("{}", quantization).replace("{lower}", quantization.lower())
        value = [{"path": path, "size": value}]
    if not isinstance(value, list) or not 0 < len(value) <= _MOST_FILES:
        raise ValueError("files holds neither a size, with a pattern file, nor a list of files")
    for each in value:
        if not isinstance(each, dict) or each.keys() - {"path", "size"}:
            raise ValueError("a file is not {path, size}")
        name, size = each.get("path"), each.get("size", 0)
        if not isinstance(name, str) or spec_paths.problem_of_file(name) or not _is_size(size):
            raise ValueError("a file has no safe path, or no size in bytes")
        yield CatalogFile(name, size, estimated)


def _shape(value: Any) -> CatalogShape:
    names = {each.name for each in fields(CatalogShape)}
    if not isinstance(value, dict) or value.keys() != names:
        raise ValueError(f"shape does not hold {', '.join(sorted(names))} and nothing else")
    if not all(_is_size(each) and each for each in value.values()):
        raise ValueError("shape holds something else than positive numbers")
    return CatalogShape(**value)


def _quantization(value: Any) -> str:
    if not isinstance(value, str) or not _QUANTIZATION.fullmatch(value):
        raise ValueError("a quantisation is not a word")
    return value


def _text(entry: dict[str, Any], key: str) -> str | None:
    value = entry.pop(key, None)
    if value is not None and not (
        isinstance(value, str) and value.isprintable() and len(value) <= 200
    ):
        raise ValueError(f"{key} is not a text on one line")
    return value


def _number(entry: dict[str, Any], key: str) -> int | None:
    value = entry.pop(key, None)
    if value is not None and not (_is_size(value) and value):
        raise ValueError(f"{key} is not a positive number")
    return value


def _flag(entry: dict[str, Any], key: str) -> bool:
    value = entry.pop(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key} is neither true nor false")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MOST_FILES:
        raise ValueError("aliases or tasks is not a list")
    return value


def _among(key: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{key} is none of {', '.join(known)}")
    return str(value)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST
