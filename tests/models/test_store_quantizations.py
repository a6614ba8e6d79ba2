"""Which quantisation a name means: what the name of a model tells goes before its file's header."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from llmspell_jupyter.errors import ModelNotFound
from llmspell_jupyter.models import store
from llmspell_jupyter.models.hub import files
from llmspell_jupyter.models.removal import remove
from llmspell_jupyter.types import Lookup
from tests.support.hub_cache import publish
from tests.support.tiny_gguf import write_tiny_gguf

Make = Callable[[gguf.LlamaFileType], bytes]

Q4_K_M = gguf.LlamaFileType.MOSTLY_Q4_K_M


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A file whose header tells a quantisation."""

    def make(kind: gguf.LlamaFileType) -> bytes:
        path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"

        def change(writer: gguf.GGUFWriter) -> None:
            writer.kv_data[0]["general.file_type"].value = int(kind)

        return write_tiny_gguf(path, change=change).read_bytes()

    return make


def test_a_file_is_not_the_one_that_its_header_is_like(cache: Path, made: Make) -> None:
    """Unsloth's own mix says in its header what it was made from."""
    publish(cache, "o/r", {"r-UD-Q4_K_XL.gguf": made(Q4_K_M)})
    found = store.resolve("hf.co/o/r")
    assert (found.id, found.quantization) == ("o/r:UD-Q4_K_XL", "Q4_K_M")
    assert not store.is_named("o/r:Q4_K_M", found) and store.is_named("o/r:UD-Q4_K_XL", found)
    with pytest.raises(ModelNotFound, match="not on this machine"):
        store.resolve("hf.co/o/r:Q4_K_M")


def test_of_two_that_are_like_it_the_named_one_is_meant(cache: Path, made: Make) -> None:
    plain = made(Q4_K_M)
    publish(cache, "o/r", {"r-UD-Q4_K_XL.gguf": plain + b"\0", "r-Q4_K_M.gguf": plain})
    for name in ("o/r", "o/r:Q4_K_M", "o/r:q4_k_m"):
        assert store.resolve(name, Lookup(quantization="Q4_K_M")).id == "o/r:Q4_K_M"
    remove(store.resolve("o/r:Q4_K_M"))
    assert store.resolve("o/r").id == "o/r:UD-Q4_K_XL"
    with pytest.raises(ModelNotFound):
        store.resolve("o/r:Q4_K_M")


def test_a_name_of_the_catalog_means_one_of_them(cache: Path, made: Make) -> None:
    plain = made(Q4_K_M)
    repository = "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF"
    publish(cache, repository, {"t-UD-Q4_K_XL.gguf": plain + b"\0", "t.Q4_K_M.gguf": plain})
    assert store.resolve("tinyllama", Lookup(quantization="Q4_K_M")).path.name == "t.Q4_K_M.gguf"


@pytest.mark.parametrize(
    ("file", "header", "meant", "not_meant"),
    [
        ("model.gguf", Q4_K_M, "Q4_K_M", "Q8_0"),
        ("r-Q8_0.gguf", Q4_K_M, "Q8_0", "Q4_K_M"),
        ("Q8_0/r-00001-of-00001.gguf", Q4_K_M, "Q8_0", "Q4_K_M"),
    ],
)
def test_a_header_tells_where_no_name_does(
    cache: Path, made: Make, file: str, header: gguf.LlamaFileType, meant: str, not_meant: str
) -> None:
    publish(cache, "o/r", {file: made(header)})
    assert store.resolve(f"o/r:{meant}").repository == "o/r"
    with pytest.raises(ModelNotFound):
        store.resolve(f"o/r:{not_meant}")


def test_a_file_of_a_folder_has_a_name_of_its_own(tmp_path: Path, made: Make) -> None:
    path = tmp_path / "own" / "tiny:1m" / "tiny-Q8_0.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(made(Q4_K_M))
    lookup = Lookup(folders=(str(tmp_path / "own"),))
    assert store.resolve("tiny:1m-Q8_0", lookup).path == path
    with pytest.raises(ModelNotFound):
        store.resolve("tiny:1m-Q4_K_M", lookup)


def test_files_that_share_a_quantisation_go_by_their_names(cache: Path, made: Make) -> None:
    """Their ids are the files' names, which tell it still."""
    plain = made(Q4_K_M)
    files = {"a-Q8_0.gguf": plain, "b-Q8_0.gguf": plain + b"\0", "c-Q5_0.gguf": plain + b"\0\0"}
    publish(cache, "o/r", files)
    with pytest.raises(ModelNotFound, match="fits several models") as caught:
        store.resolve("o/r:Q8_0")
    assert caught.value.data["models"] == ["o/r:a-Q8_0.gguf", "o/r:b-Q8_0.gguf"]
    with pytest.raises(ModelNotFound, match="not on this machine"):
        store.resolve("o/r:Q4_K_M")


@pytest.mark.parametrize(
    ("file", "word"),
    [("r-fp16.gguf", "fp16"), ("r-F16.gguf", "FP16"), ("r-Q4_0.gguf", "q4"), ("r-Q8_0.gguf", "Q8")],
)
def test_a_word_means_what_it_means_where_it_is_fetched(
    cache: Path, made: Make, file: str, word: str
) -> None:
    publish(cache, "o/r", {file: made(Q4_K_M), "r-IQ3_S.gguf": made(Q4_K_M) + b"\0"})
    chosen = files.choose_gguf("o/r", [file, "r-IQ3_S.gguf"], word, ())
    found = store.resolve(f"hf.co/o/r:{word}")
    assert (found.id, found.path.name) == (f"o/r:{chosen.quantization}", file)
    with pytest.raises(ModelNotFound, match="not on this machine"):
        store.resolve("o/r:Q5")


def test_bits_alone_take_the_preferred_one(cache: Path, made: Make) -> None:
    publish(cache, "o/r", {"r-Q4_K_M.gguf": made(Q4_K_M), "r-Q4_0.gguf": made(Q4_K_M) + b"\0"})
    assert store.resolve("o/r:q4", Lookup(quantization="Q4_0")).id == "o/r:Q4_0"
    with pytest.raises(ModelNotFound, match="fits several"):
        store.resolve("o/r:q4", Lookup(quantization="Q8_0"))
