"""``%llmspell_stats``: what a notebook asked of models, whoever in it asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.kernels import Notebook, notebook

COLUMNS = [
    *("time", "model", "engine_backend", "device", "prompt_tokens", "cached_tokens"),
    *("completion_tokens", "time_to_first_token_ms", "tokens_per_second", "load_ms", "seconds"),
    *("finish_reason", "error"),
]

# No dependency of this package, and not installed for its tests: what is checked is how it is
# called.
PANDAS = """
class DataFrame:
    def __init__(self, data, columns):
        assert all(list(row) == columns for row in data)
        self.columns, self.rows = columns, data

    def __repr__(self):
        return f"a frame of {len(self.rows)} rows"
"""


@pytest.fixture
def fresh(book: Notebook) -> Iterator[Notebook]:
    book.good("%llmspell_stats --clear")
    yield book


def rows(book: Notebook) -> list[dict[str, Any]]:
    book.good("import json")
    told = book.good("stats = %llmspell_stats\nprint(json.dumps(stats, default=str))").stdout
    found: list[dict[str, Any]] = json.loads(told)
    assert all(list(row) == COLUMNS for row in found)
    return found


def test_calls_of_lua_and_of_python(fresh: Notebook) -> None:
    assert "No model has been called" in str(fresh.good("%llmspell_stats").value)
    fresh.good('%lua Agent.builder():model("echo"):build():execute("one two three").text')
    fresh.good(
        "from llmspell_jupyter import Agent\n"
        "agent = Agent.builder().model('echo').build()\n"
        "_ = agent.execute('four five')"
    )
    fresh.good('%lua LocalLLM.count("a b", "echo")')
    fresh.good('%lua #LocalLLM.embed("a b", "echo")')
    first, second, *others = rows(fresh)
    assert first["prompt_tokens"] == first["completion_tokens"] == 3
    assert second["prompt_tokens"] == 2 and second["load_ms"] == 0
    for row in (first, second):
        assert (row["model"], row["engine_backend"], row["device"]) == ("echo", "echo", "cpu")
        assert (row["finish_reason"], row["error"], row["cached_tokens"]) == ("stop", "", 0)
        assert row["seconds"] > 0 and row["time_to_first_token_ms"] > 0
    assert first["time"] <= second["time"]
    assert [(row["model"], row["error"]) for row in others] == [("echo", "")] * 2
    shown = str(fresh.good("%llmspell_stats").value)
    assert shown.splitlines()[0].split()[:3] == ["TIME", "MODEL", "BACKEND"]
    assert len(shown.splitlines()) == 5


def test_calls_that_failed(fresh: Notebook) -> None:
    fresh.run('%lua Agent.builder():model("wizard"):build():execute("x")')
    left = """%%lua
local agent = Agent.builder():model("echo"):build()
pcall(function() agent:invokeStream("a b c d", function(c) error("enough") end) end)"""
    fresh.good(left)
    unknown, stopped = rows(fresh)
    assert (unknown["model"], unknown["error"]) == ("wizard", "ModelNotFound")
    assert unknown["prompt_tokens"] is None
    assert (stopped["model"], stopped["error"]) == ("echo", "ScriptError")


def test_a_reset_keeps_them_and_clear_does_not(fresh: Notebook) -> None:
    fresh.good('%lua Agent.builder():model("echo"):build():execute("x").text')
    fresh.good("%llmspell_reset")
    assert len(rows(fresh)) == 1
    assert fresh.good("%llmspell_stats --clear").stdout == "1 call is forgotten.\n"
    assert rows(fresh) == []


def test_only_the_last_calls_are_kept(fresh: Notebook) -> None:
    code = """
from llmspell_jupyter.runtime.calls import MOST, Calls
calls = Calls(most=3)
for number in range(5):
    with calls.kept(str(number), iter(())) as parts:
        list(parts)
print(MOST, [row["model"] for row in calls.rows()])"""
    assert fresh.good(code).stdout == "10000 ['2', '3', '4']\n"


def test_a_frame_where_there_is_pandas(tmp_path: Path) -> None:
    Path(tmp_path, "pandas.py").write_text(PANDAS)
    with notebook() as book:
        book.good(f"import sys; sys.path.insert(0, {str(tmp_path)!r})")
        book.good('%lua LocalLLM.count("a b", "echo")')
        assert book.good("%llmspell_stats").value == "a frame of 1 rows"
        assert book.value("' '.join([*_.columns, _.rows[0]['model']])") == repr(
            " ".join([*COLUMNS, "echo"])
        )
