"""Every test runs against a private runtime folder and may reach nothing but this machine."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest

# Set before anything is imported: kernels, engines and workers inherit it.
_ROOM = tempfile.mkdtemp(prefix="llmspell-tests-")
_OURS = ("LLMSPELL_", "JUPYTER_", "HF_", "OLLAMA_")
for _name in [name for name in os.environ if name.startswith(_OURS)]:
    del os.environ[_name]
os.environ |= {
    "JUPYTER_RUNTIME_DIR": str(Path(_ROOM, "runtime")),
    "JUPYTER_DATA_DIR": str(Path(_ROOM, "data")),
    "JUPYTER_CONFIG_DIR": str(Path(_ROOM, "config")),
    "IPYTHONDIR": str(Path(_ROOM, "ipython")),
    "HF_HOME": str(Path(_ROOM, "huggingface")),
    "OLLAMA_MODELS": str(Path(_ROOM, "ollama")),
    "LLMSPELL_RENDER": "plain",
    "GGML_NO_BACKTRACE": "1",
}

# A shell that starts this in the background has it ignored, and tests send it to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Speed is for the benchmarks: a busy machine must not fail a test of what is right.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

_connect = socket.socket.connect


def _connect_here(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        host = address[0]
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"A test tried to reach {host}")
    _connect(self, address)


@pytest.fixture(scope="session", autouse=True)
def _this_machine_only() -> Iterator[None]:
    socket.socket.connect = _connect_here  # type: ignore[method-assign]
    yield
    socket.socket.connect = _connect  # type: ignore[method-assign]


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """No test may leave an engine: they end with their owner, which is a test's process."""
    yield
    from llmspell_jupyter.config import paths
    from llmspell_jupyter.engine import connection

    found = connection.read(paths.connection_file())
    process = found.process() if found else None
    if process is not None:
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive, f"an engine or worker did not end: {alive}"


@pytest.fixture(scope="session")
def tiny_t5_folder(request: pytest.FixtureRequest) -> Path:
    """A T5 with a skill, trained in the first run and kept in pytest's cache."""
    from tests.support import tiny_t5

    assert request.config.cache is not None
    return tiny_t5.cached(request.config.cache.mkdir("tiny-t5"))
