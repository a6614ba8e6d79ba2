"""Values as scripts give them, checked; each function raises ``RequestError`` with a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llmspell_jupyter.engine import limits
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import Sampling

#: Names of all controls of sampling.
CONTROLS = tuple(Sampling.__dataclass_fields__)

_USUAL = Sampling()


def control(name: str, value: Any) -> Any:
    """A field of ``Sampling`` from what a script gave: its whole numbers may be floats."""
    if name == "logit_bias":
        # Lua makes a list of a table whose keys are 1, 2, ...
        biases = dict(enumerate(value, 1)) if isinstance(value, list) else table(name, value)
        value = tuple((integer(name, token, 0), bias) for token, bias in biases.items())
    elif name == "dry_sequence_breakers":
        if not isinstance(value, list | tuple):
            raise wrong(name, "a list of strings", value)
        value = tuple(value)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(name, "a number", value)
    elif isinstance(getattr(_USUAL, name), int) or name == "seed":
        value = integer(name, value, -1, 2**32)
    try:
        limits.check_sampling(Sampling(**{name: value}))
    except RequestError as error:
        error.data["param"] = name
        raise
    return value


def listed(names: Iterable[str]) -> str:
    """Names as a list in a sentence."""
    return ", ".join(names)


def text(name: str, value: Any) -> str:
    """A string, or an error that names what wanted one."""
    if not isinstance(value, str):
        raise wrong(name, "a string", value)
    return value


def number(name: str, value: Any, least: float, most: float) -> float:
    """A number from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(name, "a number", value)
    if not least <= value <= most:
        raise RequestError(
            f"{name} is {value}; it can be {least:g} to {most:g}.", data={"param": name}
        )
    return float(value)


def integer(name: str, value: Any, least: int, most: int = 2**31) -> int:
    """A whole number from ``least`` to ``most``; a float that is one will do."""
    given = number(name, value, least, most)
    if not given.is_integer():
        raise RequestError(f"{name} is {value}; it is a whole number.", data={"param": name})
    return int(given)


def table(name: str, value: Any) -> Mapping[str, Any]:
    """A table with named values."""
    if not isinstance(value, Mapping):
        raise wrong(name, "a table with named values", value)
    return value


_LUA_NAMES: dict[type, str] = {
    type(None): "nil",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a table",
    dict: "a table",
}


def wrong(name: str, wanted: str, value: Any) -> RequestError:
    """The error for a value of the wrong kind."""
    given = _LUA_NAMES.get(type(value), f"a {type(value).__name__}")
    return RequestError(f"{name} takes {wanted}, not {given}.", data={"param": name})
