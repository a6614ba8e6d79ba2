from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hub_server
from tests.support.browser import Lab, lab
from tests.support.engines import in_this_process, runtime_folder
from tests.support.hub_server import Hub
from tests.support.tiny_gguf import write_tiny_gguf

#: Names of models that the hub has, and what each file is called there.
MODELS = {"red": "lab/red-GGUF", "blue": "lab/blue-GGUF", "hostile": "lab/hostile-GGUF"}

_MODEL = """
[[model]]
name = "{name}"
title = "{title}"
repository = "{repository}"
file = "model.{{}}.gguf"
files = {{ F32 = {size} }}
license = "mit"
"""

#: Each would act if it were taken for HTML, a link or TeX.
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>window.hacked=1</script>",
    r"$\\href{javascript:alert(2)}{x}$",
    "![](http://127.0.0.1:9/x.png) <svg onload=alert(3)>",
]


@pytest.fixture(scope="package")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with three small models."""
    folder = tmp_path_factory.mktemp("hub")
    with hub_server.hub() as made:
        for seed, repository in enumerate(MODELS.values()):
            path = write_tiny_gguf(folder / f"{seed}.gguf", seed=seed)
            made.add(repository, {"model.F32.gguf": path}, license="mit")
        yield made


@pytest.fixture(scope="package")
def opened(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab and one browser for all, with an engine and a store of their own."""
    folder = tmp_path_factory.mktemp("lab")
    size = hub.repositories[MODELS["red"]].info.get("size", 200_000)
    catalog = Path(folder, "models.toml")
    titles = {"hostile": " ".join(HOSTILE)}
    catalog.write_text(
        "".join(
            _MODEL.format(
                name=name,
                title=titles.get(name, "a test").replace("\\", "\\\\").replace('"', '\\"'),
                repository=repository,
                size=size,
            )
            for name, repository in MODELS.items()
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
