"""``JSON``: text to values and back."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.runtime.exports import ScriptGlobal, script

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.runtime import Runtime


class Json(ScriptGlobal):
    """Reads and writes JSON."""

    name = "JSON"

    def __init__(self, runtime: Runtime):
        pass

    @script
    def parse(self, text: Any) -> Any:
        """The value that a JSON text stands for; ``null`` becomes nil."""
        if not isinstance(text, str):
            raise RequestError("JSON parse error: a string is needed")
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"JSON parse error: {error}") from None

    @script
    def stringify(self, value: Any) -> str:
        """Compact JSON with sorted keys; infinities and NaN become ``null``."""
        return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @script
    def decode(self, text: Any) -> Any:
        """Another name of ``parse``."""
        return self.parse(text)

    @script
    def encode(self, value: Any) -> str:
        """Another name of ``stringify``."""
        return self.stringify(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        # A table with a first element is a list; what else it holds is dropped, as rs-llmspell
        # does.
        if 1 in value:
            return [_plain(value[index]) for index in range(1, len(value) + 1) if index in value]
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise RequestError("Unsupported Lua type for JSON conversion")


GLOBAL = Json
