"""A hub with small models, and a JupyterLab whose catalog names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import hub_server
from tests.support.browser import Lab, lab
from tests.support.engines import in_this_process, runtime_folder
from tests.support.hub_server import Hub
from tests.support.tiny_gguf import write_tiny_gguf

FILE = "model.F32.gguf"

#: Each would act if it were taken for HTML, a link or TeX.
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>window.hacked=1</script>",
    r"$\\href{javascript:alert(2)}{x}$",
    "![](http://127.0.0.1:9/x.png) <svg onload=alert(3)>",
]

_MODEL = """
[[model]]
name = "{name}"
title = "{title}"
repository = "{repository}"
file = "model.{{}}.gguf"
files = {{ F32 = 200_000 }}
license = "mit"
"""


def repository(name: str) -> str:
    """Where the hub has a model."""
    return f"lab/{name}-GGUF"


@contextmanager
def small_hub(folder: Path, names: Sequence[str]) -> Iterator[Hub]:
    """A hub with a small model for each name."""
    with hub_server.hub() as made:
        for seed, name in enumerate(names):
            path = write_tiny_gguf(folder / f"{name}.gguf", seed=seed)
            made.add(repository(name), {FILE: path}, license="mit")
        yield made


@contextmanager
def hub_lab(folder: Path, hub: Hub, titles: Mapping[str, str]) -> Iterator[Lab]:
    """A JupyterLab and a browser, with an engine and a store of their own.

    Args:
        folder: An empty one.
        hub: Where models come from.
        titles: What the catalog calls them, by name.
    """
    catalog = folder / "models.toml"
    escaped = {
        name: title.replace("\\", "\\\\").replace('"', '\\"') for name, title in titles.items()
    }
    catalog.write_text(
        "".join(
            _MODEL.format(name=name, title=title, repository=repository(name))
            for name, title in escaped.items()
        )
    )
    variables = {
        **hub.environment,
        "HF_HOME": str(folder / "huggingface"),
        "LLMSPELL_MODELS_CATALOGS": str(catalog),
        "LLMSPELL_RENDER": "auto",
    }
    with runtime_folder(**variables) as environment, in_this_process(environment), lab() as made:
        yield made
