"""The wheel, installed elsewhere, is complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.timeout(300)
def test_the_wheel_carries_everything(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    profiles = {path.name for path in (ROOT / "builtins" / "profiles").iterdir()}
    inside = {Path(name).name for name in names if "builtins/profiles/" in name}
    assert inside == profiles
    assert any(name.endswith("labextensions/llmspell-jupyter/package.json") for name in names)
    assert any(name.endswith("labextensions/llmspell-jupyter/install.json") for name in names)
    server = "etc/jupyter/jupyter_server_config.d/llmspell_jupyter.json"
    assert any(name.endswith(server) for name in names)
    assert "llmspell_jupyter/runtime/sandbox.lua" in names
    assert "llmspell_jupyter/py.typed" in names
    assert "llmspell_jupyter/builtins/models.toml" in names
    assert not [name for name in names if "node_modules" in name or name.startswith("tests/")]


@pytest.mark.timeout(300)
def test_it_works_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies come from this environment; the package itself must not."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    _run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel, cwd=tmp_path
    )
    own = _site(python, tmp_path)
    Path(own, "dependencies.pth").write_text(_site(Path(sys.executable), tmp_path) + "\n")
    where = _run(python, "-c", "import llmspell_jupyter as l; print(l.__file__)", cwd=tmp_path)
    assert where.startswith(own)

    cells = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "llmspell_jupyter")
shell.run_line_magic("llmspell_profile", "candle")
print(shell.run_line_magic("lua", "Agent.builder():model('echo'):build():complete('all found')"))
"""
    runtime = {"JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    assert "all found" in _run(python, "-c", cells, cwd=tmp_path, **runtime)

    listing = _run(python, "-m", "jupyterlab.labextensions", "list", cwd=tmp_path)
    line = next(line for line in listing.splitlines() if "llmspell-jupyter" in line)
    assert "enabled" in line
    assert "OK" in line

    listing = _run(python, "-m", "jupyter_server", "extension", "list", cwd=tmp_path)
    assert re.search(r"llmspell_jupyter.*enabled", listing), listing
    assert re.search(r"llmspell_jupyter.*OK", listing), listing


def _site(python: Path, cwd: Path) -> str:
    return _run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=cwd
    ).strip()
