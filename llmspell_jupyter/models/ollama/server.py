"""What an Ollama server has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.models.ollama.connection import CONNECT_SECONDS, client, errors, is_here
from llmspell_jupyter.types import ModelInfo

if TYPE_CHECKING:
    import ollama

_ANSWER_SECONDS = 10.0

_COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMBT]?)", re.IGNORECASE)
_SCALE = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True)
class Running:
    """A model in the server's memory.

    Attributes:
        id: Its name with tag.
        size_bytes: Memory that it takes, and how much of it is a GPU's.
        leaves_at: When it leaves, seconds since the epoch; None is never or unknown.
        context_size: Tokens; None when the server does not say.
    """

    id: str
    size_bytes: int
    gpu_bytes: int
    leaves_at: float | None = None
    context_size: int | None = None


def version(url: str) -> str:
    """The server's version."""
    import httpx

    with errors(url):
        answer = httpx.get(
            f"{url}/api/version", timeout=CONNECT_SECONDS, trust_env=not is_here(url)
        )
        answer.raise_for_status()
        return str(answer.json()["version"])


def tags(url: str) -> list[ModelInfo]:
    """The models that the server has."""
    with client(url, CONNECT_SECONDS) as asked:
        found = asked.list().models
    return [_info(each) for each in found if each.model]


def running(url: str) -> list[Running]:
    """The models that are in the server's memory."""
    with client(url, CONNECT_SECONDS) as asked:
        found = asked.ps().models
    return [
        Running(
            id=str(each.model or each.name),
            size_bytes=int(each.size or 0),
            gpu_bytes=int(each.size_vram or 0),
            leaves_at=each.expires_at.timestamp() if each.expires_at else None,
            context_size=each.context_length,
        )
        for each in found
    ]


def show(url: str, name: str) -> dict[str, Any]:
    """What the server tells about a model: JSON values, as its API names them.

    Raises:
        ModelNotFound: It does not have it.
    """
    with client(url, _ANSWER_SECONDS, name) as asked:
        shown: dict[str, Any] = asked.show(name).model_dump(mode="json", by_alias=True)
    return shown


def delete(url: str, name: str) -> None:
    """Take a model away from the server.

    Raises:
        ModelNotFound: It does not have it.
    """
    with client(url, _ANSWER_SECONDS, name) as asked:
        asked.delete(name)


def _info(model: ollama.ListResponse.Model) -> ModelInfo:
    details = model.details
    made: datetime | None = model.modified_at
    return ModelInfo(
        id=str(model.model),
        backend="ollama",
        path=Path(),
        format=(details.format if details and details.format else "GGUF").upper(),
        size_bytes=int(model.size or 0),
        modified_at=int(made.timestamp()) if made else 0,
        architecture=(details.family if details else None) or None,
        quantization=(details.quantization_level if details else None) or None,
        parameter_count=_count(details.parameter_size if details else None),
        store="ollama",
        revision=model.digest,
    )


def _count(text: str | None) -> int | None:
    """A number of weights such as ``8.0B``."""
    match = _COUNT.fullmatch((text or "").strip())
    return round(float(match[1]) * _SCALE[match[2].upper()]) if match else None
