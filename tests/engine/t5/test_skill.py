"""A trained model does what it was trained for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.t5.conftest import ask, run, text

# Each letter once in a word, as in its training; it saw random letters, no words.
WORDS = ("stone", "cloud", "bread", "house", "light", "plant", "north", "sugar", "table", "lion")


@pytest.mark.timeout(600)
def test_the_tiny_t5_does_its_two_tasks(backend_name, load, tiny_t5_folder: Path) -> None:
    backend = load(tiny_t5_folder, backend_name, dtype="auto")
    tasks = {f"upper: {word}": word.upper() for word in WORDS}
    tasks |= {f"reverse: {word}": word[::-1] for word in WORDS}
    wrong = {}
    for task, wanted in tasks.items():
        events = run(backend, ask(task))
        if (text(events), events[-1].reason) != (wanted, "stop"):
            wrong[task] = text(events)
    assert len(wrong) <= len(tasks) // 5, wrong
