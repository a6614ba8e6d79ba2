from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support import hub_server, pulls
from tests.support.browser import Lab, lab
from tests.support.engines import in_this_process, runtime_folder
from tests.support.hub_server import Hub
from tests.support.tiny_gguf import write_tiny_gguf

#: Names of models that the hub has, and what each file is called there.
MODELS = {
    "red": "lab/red-GGUF",
    "blue": "lab/blue-GGUF",
    "green": "lab/green-GGUF",
    "hostile": "lab/hostile-GGUF",
}

#: A model of several files.
SEVERAL = "lab/several"

#: Bytes of the larger ones: several parts, each kept in several steps.
LARGE = 48 * 1024**2

_MODEL = """
[[model]]
name = "{name}"
title = '''{title}'''
repository = "{repository}"
file = "model.{{}}.gguf"
files = {{ F32 = {size} }}
license = '''{license}'''
"""

#: Each would act if it were taken for HTML, a link, Markdown or TeX.
HOSTILE = [
    "<img src=http://127.0.0.1:9/x.png onerror=window.hacked=1>",
    "<script>window.hacked=1</script>",
    r"$\href{javascript:window.hacked=1}{x}$",
    "![](http://127.0.0.1:9/x.png) <svg onload=alert(3)>",
]


@pytest.fixture(scope="package")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with small models, and with larger ones that may come slowly."""
    folder = tmp_path_factory.mktemp("hub")
    rest = np.zeros((LARGE // 4,), dtype=np.float32)
    with hub_server.hub() as made:
        for seed, (name, repository) in enumerate(MODELS.items()):
            large = name in ("red", "blue")
            path = write_tiny_gguf(
                folder / f"{seed}.gguf",
                seed=seed,
                change=(lambda writer: writer.add_tensor("rest.weight", rest)) if large else None,
            )
            license = HOSTILE[2] if name == "hostile" else "mit"
            made.add(repository, {"model.F32.gguf": path}, license=license)
        made.add(SEVERAL, pulls.files(LARGE), license="mit")
        # Only a search finds it.
        made.add("lab/found-GGUF", {"x.F32.gguf": path}, license=HOSTILE[0])
        yield made


@pytest.fixture(scope="package")
def opened(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab and one browser for all, with an engine and a store of their own."""
    folder = tmp_path_factory.mktemp("lab")
    catalog = Path(folder, "models.toml")
    hostile = {"title": " ".join(HOSTILE), "license": HOSTILE[2]}
    catalog.write_text(
        "".join(
            _MODEL.format(
                name=name,
                repository=repository,
                size=LARGE if name in ("red", "blue") else 200_000,
                **(hostile if name == "hostile" else {"title": "a test", "license": "mit"}),
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
