"""ctranslate2 itself: what is installed, and the import at first use."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from llmspell_jupyter.errors import BackendMissing

#: Oldest release that this was run with.
OLDEST = (4, 8)


def install_line() -> str:
    """Shell command that installs ctranslate2 and what goes with it for this interpreter."""
    python = shlex.quote(sys.executable or "python")
    return f'{python} -m pip install "llmspell-jupyter[fast]"'


def absence() -> str | None:
    """Why ctranslate2 cannot be used, without importing it; None when it can."""
    try:
        version = importlib.metadata.version("ctranslate2")
    except importlib.metadata.PackageNotFoundError:
        return (
            "ctranslate2 is not installed; on a CPU it is several times as fast: "
            'pip install "llmspell-jupyter[fast]"'
        )
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return f"ctranslate2 {version} is installed, and {oldest} is the oldest that will do"
    return None


def token_name(number: int) -> str:
    """A token for CTranslate2, which is given names and not numbers."""
    return str(number)


@functools.cache
def ctranslate2() -> ModuleType:
    """The library.

    Raises:
        BackendMissing: It is not installed, or its native part cannot be loaded.
    """
    return _import("ctranslate2")


def specs() -> ModuleType:
    """The part of the library that describes models, to write them; raises as ``ctranslate2``."""
    with _without_torch():
        return _import("ctranslate2.specs")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise BackendMissing(
            f"ctranslate2, which runs T5 fast on a CPU, cannot be imported: {error}",
            hint=f"Type in a terminal: {install_line()}",
            data={"install": install_line()},
        ) from error


@contextmanager
def _without_torch() -> Iterator[None]:
    """Keep torch from being imported.

    ctranslate2 imports it, where it is installed, to convert tensors of torch; there are none
    here, and it would take seconds and hundreds of megabytes.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]
