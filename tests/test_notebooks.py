"""Every notebook runs from top to bottom, with the outputs that it shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_says_the_same(path: Path, request: pytest.FixtureRequest) -> None:
    environment = dict(os.environ)
    if path.stem == "t5":
        folder: Path = request.getfixturevalue("tiny_t5_folder")
        environment["LLMSPELL_MODEL_PATH"] = str(folder.parent)
    options = ["--nbval", "--nbval-kernel-name", "python3", "--nbval-cell-timeout", "120"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_shows_outputs_and_ends_in_an_assertion(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert "assert" in cells[-1].source
    assert any(cell.outputs for cell in cells)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
