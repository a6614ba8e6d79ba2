"""Kernels that are started in other ways than usual."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

PYTHON = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]

#: As those that set up an environment before: the kernel is a child of what the server starts.
WRAPPED = ["/bin/sh", "-c", '"$0" "$@"; exit', *PYTHON]

#: One that never says a word.
MUTE = ["/bin/sh", "-c", "exec sleep 600", "{connection_file}"]


def install(environment: Mapping[str, str], name: str, command: list[str]) -> None:
    """Let servers of this environment start a kernel by this command."""
    spec = Path(environment["JUPYTER_DATA_DIR"], "kernels", name, "kernel.json")
    spec.parent.mkdir(parents=True, exist_ok=True)
    spec.write_text(json.dumps({"argv": command, "display_name": name, "language": "python"}))
