"""The calls of this notebook as a table that Python code can take."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module, util
from typing import Any

from llmspell_jupyter.magics import reports
from llmspell_jupyter.runtime.calls import COLUMNS


class Rows(list[dict[str, Any]]):
    """A list of dictionaries that shows itself as a table."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(reports.calls(self))


def table(rows: Sequence[dict[str, Any]]) -> Any:
    """The rows as a DataFrame where pandas is installed, else as ``Rows``."""
    if util.find_spec("pandas") is None:
        return Rows(rows)
    # Not ours to require; imported only by who asks for its table.
    return import_module("pandas").DataFrame(list(rows), columns=list(COLUMNS))
