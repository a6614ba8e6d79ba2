"""A hint that names a model can be typed as it stands, also where its path has spaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.magics.arguments import parsed
from llmspell_jupyter.magics.model_magics import ModelMagics
from llmspell_jupyter.models import spec
from llmspell_jupyter.runtime.local_models import LocalModels
from llmspell_jupyter.runtime.runtime import Runtime


@pytest.mark.parametrize("folder", ["models", "my models"])
def test_the_hint_of_a_path(folder: str, tmp_path: Path) -> None:
    runtime = Runtime()
    path = str(tmp_path / folder / "a.gguf")
    with pytest.raises(RequestError, match="needs no pull") as caught:
        LocalModels(runtime).pull(path)
    magic, _, line = caught.value.hint.removeprefix("Load it: %").partition(" ")
    assert magic == "model_load"
    assert parsed(ModelMagics.model_load, line).model == path
    runtime.engine.close()


def test_a_name_is_typed_as_it_is() -> None:
    assert spec.typed("hf.co/owner/repo:Q4_K_M") == "hf.co/owner/repo:Q4_K_M"
