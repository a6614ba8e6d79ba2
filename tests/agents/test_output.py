"""The tables that agents take and give."""

from __future__ import annotations

from typing import Any

import pytest

from llmspell_jupyter.agents import output
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import Completion


@pytest.mark.parametrize("given", ["hi", {"text": "hi"}, {"prompt": "hi"}, {"text": "hi", "x": 1}])
def test_questions(given: Any) -> None:
    assert output.question(given) == "hi"


@pytest.mark.parametrize(
    "given", [None, 7, ["hi"], {}, {"text": 7}, {"text": "hi", "media": [1]}, {"image": {"a": 1}}]
)
def test_questions_that_cannot_be_asked(given: Any) -> None:
    with pytest.raises(RequestError) as error:
        output.question(given)
    assert error.value.hint


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("plain words", {}),
        ("", {}),
        ("42", {"data": 42}),
        ("[1, 2]", {"data": [1, 2]}),
        ('{"answer": 1}', {"data": {"answer": 1}}),
        (
            '{"result": 1, "text": "own"}',
            {"result": 1, "_raw_text": '{"result": 1, "text": "own"}'},
        ),
        ("[" * 100_000, {}),
    ],
)
def test_tables(text: str, more: dict[str, Any]) -> None:
    table = output.table(Completion(text, "stop", {}), {"model": "m"})
    assert table == {**more, "text": text, "metadata": {"model": "m"}}
