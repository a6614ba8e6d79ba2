"""What a request about model files may say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, create_model

from llmspell_jupyter.config import environment
from llmspell_jupyter.engine.api.reading import MOST_ITEMS, Strict, inside, lookup, tuples, valid
from llmspell_jupyter.types import LoadOptions, Lookup, PullRequest, Sources

_T = TypeVar("_T", bound=BaseModel)

# No whitespace and nothing that could end a header: these become parts of requests.
_Address = Annotated[str, Field(pattern=r"^https?://[^\s\x00-\x1f\x7f]+$", max_length=2_000)]
_Host = Annotated[str, Field(pattern=r"^[^\s/\x00-\x1f\x7f]+$", max_length=300)]
_Token = Annotated[str, Field(pattern=r"^[\x21-\x7e]+$", max_length=2_000)]
_Rate = Annotated[int, Field(ge=0, le=10**12)]
_Name = Annotated[str, Field(min_length=1, max_length=4_096)]
_Word = Annotated[str, Field(min_length=1, max_length=300)]
# A list of two: JSON has no tuples.
_File = Annotated[
    tuple[_Name, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]], Field(strict=False)
]

#: Path and SHA-256 of the files that a lock file names.
LockedFiles = Annotated[list[_File], Field(max_length=MOST_ITEMS)]

_SOURCES = inside(
    "sources",
    Sources,
    endpoint=(_Address | None, None),
    token=(_Token | None, None),
    hosts=(Annotated[list[_Host], Field(max_length=MOST_ITEMS)] | None, None),
    bytes_per_second=(_Rate | None, None),
    ollama_url=(_Address | None, None),
)


def _body(name: str, *, options: bool = False, **fields: Any) -> type[Any]:
    """A body with these fields, and with lookup and sources under ``llmspell``."""
    more = {"options": inside("options", LoadOptions)} if options else {}
    ours = create_model(
        "llmspell",
        __base__=Strict,
        lookup=inside("lookup", Lookup),
        sources=_SOURCES,
        **more,
    )
    fields["llmspell"] = (ours, Field(default_factory=ours))
    return create_model(name, __base__=Strict, **fields)


_PULL = _body(
    "Pull",
    model=(_Name, ...),
    quantization=(_Word | None, None),
    revision=(_Word | None, None),
    force=(bool, False),
    bytes_per_second=(_Rate, 0),
    locked=(LockedFiles, []),
    background=(bool, False),
)
_VERIFY = _body("Verify", model=(_Name, ...), background=(bool, False))
_MODEL = _body("Model", model=(_Name, ...))
_AVAILABLE = _body(
    "Available",
    backend=(_Word | None, None),
    search=(Annotated[str, Field(max_length=1_000)], ""),
)
_GARBAGE = _body("Garbage", dry_run=(bool, True))
_PLACES = _body("Places")
_FIT = _body("Fit", options=True, model=(_Name, ...))
_CANCEL: type[Any] = create_model("Cancel", __base__=Strict, discard=(bool, False))


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request about model files.

    Attributes:
        model: Model spec or path; empty where none is named.
        lookup: How names become models.
        sources: Where models are fetched from.
    """

    model: str
    lookup: Lookup
    sources: Sources


def pull(value: Any) -> tuple[PullRequest, bool]:
    """What to fetch, and whether nobody waits for it.

    Raises:
        RequestError: A field is unknown, missing, of the wrong type or out of range.
    """
    body = valid(value, _PULL)
    asked = _asked(body)
    request = PullRequest(
        asked.model,
        quantization=body.quantization,
        revision=body.revision,
        force=body.force,
        bytes_per_second=body.bytes_per_second,
        locked=tuple(body.locked),
        lookup=asked.lookup,
        sources=asked.sources,
    )
    return request, body.background


def verify(value: Any) -> tuple[Asked, bool]:
    """What to check, and whether nobody waits for it; raises as ``pull``."""
    body = valid(value, _VERIFY)
    return _asked(body), body.background


def model(value: Any) -> Asked:
    """Which model; raises as ``pull``."""
    return _asked(valid(value, _MODEL))


def places(value: Any) -> Asked:
    """Where to look; raises as ``pull``."""
    return _asked(valid(value, _PLACES))


def available(value: Any) -> tuple[Asked, str | None, str]:
    """Where to look, for which backend, and for which text; raises as ``pull``."""
    body = valid(value, _AVAILABLE)
    return _asked(body), body.backend, body.search


def garbage(value: Any) -> tuple[Asked, bool]:
    """Where to look, and whether to remove nothing; raises as ``pull``."""
    body = valid(value, _GARBAGE)
    return _asked(body), body.dry_run


def cancel(value: Any) -> bool:
    """Whether what has come is to be thrown away; raises as ``pull``."""
    return bool(valid(value, _CANCEL).discard)


def fit(value: Any) -> tuple[Asked, LoadOptions]:
    """Which model, loaded how; raises as ``pull``."""
    body = valid(value, _FIT)
    return _asked(body), LoadOptions(**body.llmspell.options.model_dump(exclude_none=True))


def _asked(body: Any) -> Asked:
    ours = body.llmspell
    name = getattr(body, "model", "")
    return Asked(name, lookup(ours.lookup), _sources(ours.sources))


def _sources(table: BaseModel) -> Sources:
    """What is said, and for the rest what the engine's own environment says."""
    own = environment.sources()
    given = tuples(table.model_dump(exclude_none=True))
    for address in given.keys() & {"endpoint", "ollama_url"}:
        given[address] = given[address].rstrip("/")
    # A token goes to nobody but whom it was meant for.
    if (
        "token" not in table.model_fields_set
        and given.get("endpoint", own.endpoint) == own.endpoint
    ):
        given["token"] = own.token
    return replace(own, **{"token": None} | given)
