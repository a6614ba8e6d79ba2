"""A machine with nothing on it: a home, a working folder, no variable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.config import loading
from llmspell_jupyter.config.loaded import Loaded


@dataclass
class Machine:
    home: Path
    work: Path
    environ: dict[str, str]

    def load(self, profile: str | None = None, config_file: Any = None, **more: Any) -> Loaded:
        return loading.load(profile, config_file, environ=self.environ, cwd=self.work, **more)

    def file(self, text: str, name: str = "given.toml") -> Path:
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    return Machine(home, work, {"HOME": str(home)})
