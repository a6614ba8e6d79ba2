"""The globals of scripts: a module here is a global by being there."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from llmspell_jupyter.runtime.exports import ScriptGlobal, ScriptObject

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.runtime import Runtime


def instances(runtime: Runtime) -> dict[str, ScriptGlobal]:
    """A fresh object of every global, by the name that scripts write."""
    made = (module.GLOBAL(runtime) for module in _modules())
    return {each.name: each for each in made}


def classes() -> list[type[ScriptObject]]:
    """The classes of objects that the globals hand out."""
    return [
        each
        for module in _modules()
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, ScriptObject) and each is not ScriptObject
    ]


def _modules() -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(__path__):
        yield importlib.import_module(f"{__name__}.{module.name}")
