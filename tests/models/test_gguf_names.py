"""One rule for the names of GGUF files, on the hub and on this machine."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from llmspell_jupyter.errors import ModelNotFound
from llmspell_jupyter.models import describe, gguf_names, store
from llmspell_jupyter.models.hub import files
from llmspell_jupyter.models.removal import remove
from llmspell_jupyter.models.verify import verify
from llmspell_jupyter.types import Lookup
from tests.support import hub_server
from tests.support.hub_cache import publish, tree
from tests.support.pulls import Pulls
from tests.support.tiny_safetensors import write_tiny_folder


def test_an_ending_in_capitals_is_pulled_and_is_here(cache: Path, gguf: bytes) -> None:
    with hub_server.hub() as hub:
        hub.add("owner/model", {"M.Q8_0.GGUF": gguf, "mmproj-F16.GGUF": b"GGUF"})
        done = Pulls(hub, cache).pull()
    found = store.resolve("owner/model:Q8_0")
    assert (str(found.path), found.architecture) == (done.metadata["path"], "llama")
    assert store.resolve("owner/model:M.Q8_0.GGUF") == found
    assert verify(found, lambda _: None, threading.Event()).metadata["checked"] == "sha256"
    assert remove(found) == len(gguf)
    assert tree(cache) == []


def test_in_a_folder_too(tmp_path: Path, gguf: bytes) -> None:
    path = tmp_path / "own" / "tiny:1m" / "TINY.GGUF"
    path.parent.mkdir(parents=True)
    path.write_bytes(gguf)
    found = store.resolve("tiny", Lookup(folders=(str(tmp_path / "own"),)))
    assert (found.path, found.architecture) == (path, "llama")
    assert store.resolve(str(path.parent)).path == path


def test_a_model_beside_safetensors_stays(cache: Path, tmp_path: Path, gguf: bytes) -> None:
    folder = write_tiny_folder(tmp_path / "t5", kind="t5")
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    snapshot = publish(cache, "owner/both", content | {"B-Q8_0.GGUF": gguf})
    remove(next(info for info in store.installed() if info.path == snapshot))
    found = store.resolve("owner/both")
    assert (found.path.name, found.architecture) == ("B-Q8_0.GGUF", "llama")


def test_the_parts_of_one_are_spelt_as_it_is() -> None:
    first = Path("/x/Big-Q8_0-00001-of-00003.GGUF")
    names = [f"Big-Q8_0-0000{number}-of-00003.GGUF" for number in (1, 2, 3)]
    assert [path.name for path in describe.parts(first.with_name(names[1]))] == names
    (model,) = files.gguf_models(names)
    assert (list(model.paths), model.parts) == (names, 3)


def test_the_first_part_alone_is_a_model(cache: Path, gguf: bytes) -> None:
    names = [f"B-Q8_0-0000{number}-of-00002.GGUF" for number in (1, 2)]
    publish(cache, "owner/big", dict.fromkeys(names, gguf))
    (found,) = (info for info in store.installed() if info.store == "hub")
    assert (found.id, found.path.name) == ("owner/big:Q8_0", names[0])


@pytest.mark.parametrize(
    "name", ["mmproj-model.gguf", "model-mmproj-F16.GGUF", "tiny.imatrix.gguf", "ggml-vocab-x.gguf"]
)
def test_what_stands_beside_models_is_none(
    cache: Path, tmp_path: Path, gguf: bytes, name: str
) -> None:
    assert not gguf_names.is_model(f"a/{name}") and gguf_names.is_model("mmproj/model.gguf")
    assert files.gguf_models([name, "zz.gguf"]) == files.gguf_models(["zz.gguf"])
    publish(cache, "owner/name", {name: gguf, "zz.gguf": gguf + b"\0"})
    assert [info.id for info in store.installed() if info.store == "hub"] == ["owner/name"]
    folder = tmp_path / "own" / "tiny:1m"
    folder.mkdir(parents=True)
    for each in (name, "zz.gguf"):
        (folder / each).write_bytes(gguf)
    lookup = Lookup(folders=(str(tmp_path / "own"),))
    assert store.resolve("tiny", lookup).path.name == "zz.gguf"
    assert store.resolve(str(folder)).path.name == "zz.gguf"
    (folder / "zz.gguf").unlink()
    with pytest.raises(ModelNotFound):
        store.resolve("tiny", lookup)
    # Whoever names the file itself has it.
    assert store.resolve(str(folder / name)).path.name == name
