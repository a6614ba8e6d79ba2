"""Changes that a script makes to the configuration in force."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from llmspell_jupyter.config import layers, loading
from llmspell_jupyter.config.layers import Layer, Origin
from llmspell_jupyter.config.loaded import Loaded


def changed(loaded: Loaded, values: Mapping[str, Any]) -> Loaded:
    """The configuration with values that a script sets; they go before files and profiles.

    Variables, and what an administrator fixes, go before them.

    Args:
        loaded: What is in force.
        values: Values by key, such as ``providers.candle.default_model``.

    Raises:
        ConfigError: A key is unknown, a value is wrong, or an administrator fixes it.
    """
    origin = Origin("script")
    table: dict[str, Any] = {}
    for key, value in values.items():
        *tables, last = key.split(".")
        inner = table
        for name in tables:
            inner = inner.setdefault(name, {})
        inner[last] = value
    layer = Layer(origin, layers.flatten(table, lambda path: origin))
    made = loading.with_layer(loaded, layer, environ=os.environ)
    for key in layer.values:
        if (given := made.values.get(key)) and given.origin.layer == "administrator":
            raise layers.problem(origin, key, f"{key} is fixed by {made.policy.who}.")
    return made
