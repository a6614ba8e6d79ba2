"""How bodies are checked. Fields that our types have are made from them, bounds included."""

from __future__ import annotations

import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticCustomError

from llmspell_jupyter.config.escaping import printable
from llmspell_jupyter.engine import limits
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import Lookup

_T = TypeVar("_T", bound=BaseModel)

# How pydantic names the alternatives of a union.
_KIND = re.compile(r"\[|^(constrained-)?str$")

#: Most items of a list.
MOST_ITEMS = 10_000

# Fields of a lookup that name places for the engine, which works in a folder of its own.
_PLACES = ("caches", "catalogs", "ollama_store")

_UNSUPPORTED = "is not supported by this engine"


class Strict(BaseModel):
    """A table that has these fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


def within(name: str) -> Any:
    """The bounds of a field."""
    least, most = limits.bounds(name) or (None, None)
    return Field(ge=least, le=most)


def _field(name: str, hint: Any) -> Any:
    """The type of an optional JSON value for a field of a dataclass."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(each for each in get_args(hint) if each is not NoneType)
    if get_origin(hint) is tuple:
        hint = Annotated[list[get_args(hint)[0]], Field(max_length=MOST_ITEMS)]  # type: ignore[misc]
    return (Annotated[hint, within(name)] if limits.bounds(name) else hint) | None


def optional(cls: type[Any]) -> dict[str, Any]:
    """The fields of a dataclass for ``create_model``; all may be left out or null."""
    return {name: (_field(name, hint), None) for name, hint in get_type_hints(cls).items()}


def inside(name: str, cls: type[Any], **fields: Any) -> Any:
    """A table with the fields of a dataclass, empty if it is left out.

    Args:
        name: Name of the table.
        cls: The dataclass.
        fields: Types that replace those of the dataclass, as for ``create_model``.
    """
    model = create_model(name, __base__=Strict, **optional(cls) | fields)
    return (model, Field(default_factory=model))


def lacking(*harmless: Any) -> BeforeValidator:
    """Of OpenAI's fields that the engine lacks: null and these values ask for nothing of it.

    Clients send such fields by themselves, and give an answer's fields back with the next question.
    """

    def check(value: Any) -> Any:
        if value is not None and value not in harmless:
            raise PydanticCustomError("lacking", _UNSUPPORTED)
        return value

    return BeforeValidator(check)


def lookup(table: BaseModel) -> Lookup:
    """What a table ``lookup`` says.

    Raises:
        RequestError: A place is not named by its whole path.
    """
    given = tuples(table.model_dump(exclude_none=True))
    for name in _PLACES:
        value = given.get(name, ())
        for place in filter(None, (value,) if isinstance(value, str) else value):
            if not Path(place).is_absolute():
                raise wrong(
                    f"llmspell.lookup.{name}",
                    "is not an absolute path, and the engine works in a folder of its own",
                    hint="Write the whole path, from the root.",
                )
    return Lookup(**given)


def tuples(given: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples of our dataclasses."""
    return {name: tuple(each) if isinstance(each, list) else each for name, each in given.items()}


def valid(value: Any, kind: type[_T]) -> _T:
    """The value as a body of this kind.

    Raises:
        RequestError: A field is unknown, missing, of the wrong type or out of range.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _explain(error) from None
    except RecursionError:
        raise RequestError("The body is nested too deeply.") from None


def _explain(error: ValidationError) -> RequestError:
    # Where several kinds of value are allowed, the complaint that got furthest is about the kind
    # that was meant; the names of the kinds stand between those of the fields.
    worst = max(error.errors(include_url=False), key=lambda each: len(each["loc"]))
    field = ".".join(str(part) for part in worst["loc"] if not _KIND.search(str(part)))
    if not field:
        return RequestError("The body is not a JSON object with a request.")
    if worst["type"] in ("extra_forbidden", "lacking"):
        return wrong(field, _UNSUPPORTED, hint="Leave it out.")
    return wrong(field, worst["msg"].lower())


def wrong(field: str, cause: str, *, hint: str = "") -> RequestError:
    """The error for a field; the value itself is never repeated."""
    # A name may be anything that JSON can hold.
    name = printable(field, 200)
    return RequestError(f"{name}: {cause}.", hint=hint, data={"param": name})
