from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support import hub_server
from tests.support.browser import Lab, lab
from tests.support.engines import in_this_process, runtime_folder
from tests.support.hub_server import Hub
from tests.support.tiny_gguf import write_tiny_gguf
from tests.widgets.browser.conftest import HOSTILE

# A machine at work takes its time.
expect.set_options(timeout=30_000)

#: A small model of the catalog, and one whose words would act if they were taken for HTML.
RED, HOSTILE_MODEL = "red", "hostile"

_MODEL = """
[[model]]
name = "{name}"
title = "{title}"
repository = "lab/{name}-GGUF"
file = "model.{{}}.gguf"
files = {{ F32 = {size} }}
license = "mit"
"""


@pytest.fixture(scope="package")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with two small models."""
    folder = tmp_path_factory.mktemp("hub")
    with hub_server.hub() as made:
        for seed, name in enumerate((RED, HOSTILE_MODEL)):
            path = write_tiny_gguf(folder / f"{name}.gguf", seed=seed)
            made.add(f"lab/{name}-GGUF", {"model.F32.gguf": path}, license="mit")
        yield made


@pytest.fixture(scope="package")
def opened(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab and one browser for all, with an engine and a store of their own."""
    folder = tmp_path_factory.mktemp("lab")
    catalog = Path(folder, "models.toml")
    words = " ".join(HOSTILE).replace("\\", "\\\\").replace('"', '\\"')
    titles = {RED: "A test", HOSTILE_MODEL: words}
    catalog.write_text(
        "".join(
            _MODEL.format(name=name, title=title, size=200_000) for name, title in titles.items()
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
