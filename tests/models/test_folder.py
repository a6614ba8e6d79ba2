"""Folders of safetensors: sound, safe, and never a file from outside (threats M3 and M6)."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.errors import BadModelFile, UnsafeFormat
from llmspell_jupyter.models import store
from llmspell_jupyter.models.folder import inspect_folder
from tests.support.tiny_safetensors import write_safetensors, write_tiny_folder


@pytest.mark.parametrize(
    ("kind", "shards", "dtype"),
    [("t5", 1, "F32"), ("t5", 3, "BF16"), ("bert", 2, "F16"), ("llama", 1, "BF16")],
)
def test_a_sound_folder(tmp_path: Path, kind: str, shards: int, dtype: str) -> None:
    folder = write_tiny_folder(tmp_path / "m", kind=kind, shards=shards, dtype=dtype)
    found = inspect_folder(folder)
    assert (found.path, found.model_type, found.dtype) == (folder, kind, dtype)
    assert len(found.shards) == shards and all(shard.is_file() for shard in found.shards)
    assert found.size_bytes == sum(shard.stat().st_size for shard in found.shards)
    assert found.parameter_count == sum(tensor.size for tensor in found.tensors.values())
    assert found.config["model_type"] == kind
    with pytest.raises(TypeError):
        found.config["auto_map"] = "x"  # type: ignore[index]


def test_positions_are_no_parameters(tmp_path: Path) -> None:
    info = next(each for each in store.installed() if each.id == "all-minilm-l6-v2")
    assert inspect_folder(info.path).parameter_count == info.parameter_count == 22_713_216


def test_a_file_of_any_name_will_do_if_it_is_the_only_one(tmp_path: Path) -> None:
    folder = write_tiny_folder(tmp_path / "m")
    folder.joinpath("model.safetensors").rename(folder / "weights.safetensors")
    assert inspect_folder(folder).shards == (folder / "weights.safetensors",)
    folder.joinpath("pytorch_model.bin").touch()
    assert inspect_folder(folder).shards == (folder / "weights.safetensors",)


def test_files_beside_the_weights(tmp_path: Path) -> None:
    folder = write_tiny_folder(tmp_path / "m")
    folder.joinpath("tokenizer.json").write_text('{"a": 1}')
    folder.joinpath("1_Pooling").mkdir()
    folder.joinpath("1_Pooling", "config.json").write_text('{"b": 2}')
    found = inspect_folder(folder)
    assert found.file("tokenizer.json") == folder / "tokenizer.json"
    assert found.json("1_Pooling/config.json") == {"b": 2}
    assert found.file("spiece.model") is None and found.json("none.json") is None
    for name in ("../m/config.json/..", "..", "../secret", "/etc/passwd", "a\0b", "x" * 300):
        with pytest.raises(BadModelFile):
            found.file(name) or pytest.fail("nothing found")


def damaged(folder: Path, kind: str) -> Path:
    """A folder that something is wrong with."""
    write_tiny_folder(folder)
    weights = folder / "model.safetensors"
    if kind == "no weights":
        weights.unlink()
    elif kind == "no config":
        folder.joinpath("config.json").unlink()
    elif kind == "two files":
        weights.rename(folder / "a.safetensors")
        shutil.copy(folder / "a.safetensors", folder / "b.safetensors")
    elif kind == "an adapter":
        weights.rename(folder / "adapter_model.safetensors")
    elif kind == "no numbers":
        write_safetensors(weights, {})
    elif kind == "dead link":
        weights.unlink()
        weights.symlink_to(folder / "nothing")
    elif kind == "link to itself":
        weights.unlink()
        weights.symlink_to(weights)
    return folder


DAMAGED = {
    "no weights": "holds no safetensors file",
    "no config": "holds no config.json",
    "two files": "2 safetensors files and no model.safetensors.index.json",
    "an adapter": "is an adapter",
    "no numbers": "hold no weights",
    "dead link": "link to nothing",
    "link to itself": "model.safetensors",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_missing_is_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BadModelFile) as caught:
        inspect_folder(damaged(tmp_path / "m", kind))
    assert DAMAGED[kind] in caught.value.message
    assert not isinstance(caught.value, UnsafeFormat)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    tmp_path.joinpath("file").touch()
    for name in ("none", "file"):
        with pytest.raises(BadModelFile, match="cannot be opened"):
            inspect_folder(tmp_path / name)


# Links


def test_the_hugging_face_cache(tmp_path: Path) -> None:
    """Its snapshots are links into a folder beside; the folder may be reached by a link, too."""
    blobs = tmp_path / "models--org--m" / "blobs"
    snapshot = tmp_path / "models--org--m" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(write_tiny_folder(tmp_path / "m", shards=2).iterdir()):
        file.rename(blobs / str(number))
        snapshot.joinpath(file.name).symlink_to(f"../../blobs/{number}")
    assert len(inspect_folder(snapshot).shards) == 2
    tmp_path.joinpath("alias").symlink_to(snapshot)
    assert inspect_folder(tmp_path / "alias").model_type == "t5"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer_config.json"])
def test_a_link_that_leads_outside(tmp_path: Path, name: str) -> None:
    outside = write_tiny_folder(tmp_path / "outside")
    outside.joinpath("tokenizer_config.json").write_text("{}")
    folder = write_tiny_folder(tmp_path / "m")
    folder.joinpath(name).unlink(missing_ok=True)
    folder.joinpath(name).symlink_to(outside / name)
    with pytest.raises(BadModelFile, match=f"{name} leads out of the folder"):
        inspect_folder(folder)


# Nothing is opened outside, nothing is run

#: Looks at each folder that is named, and prints the errors and every file that was opened.
WATCHED = """
import json, os, sys
from pathlib import Path
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.models.folder import inspect_folder
opened, errors = [], {}
def watch(event, arguments):
    if event == "open" and not isinstance(arguments[0], int):
        opened.append(os.fsdecode(arguments[0]))
    elif event in ("import", "exec", "compile", "marshal.loads", "pickle.find_class", "os.system",
                   "subprocess.Popen", "socket.connect"):
        opened.append(f"{event} {arguments[0]!r:.60}")
sys.addaudithook(watch)
for name in sys.argv[1:]:
    try:
        inspect_folder(Path(name))
        errors[name] = None
    except LLMSpellError as error:
        errors[name] = type(error).__name__
sys.stdout.write(json.dumps([opened, errors]))
"""


def watched(folders: list[Path]) -> tuple[list[str], dict[str, str | None]]:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *map(str, folders)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    opened, errors = json.loads(done.stdout)
    return opened, errors


def index_of(folder: Path, **weight_map: str) -> Path:
    write_tiny_folder(folder, shards=2)
    folder.joinpath("model.safetensors.index.json").write_text(
        json.dumps({"weight_map": weight_map})
    )
    return folder


def test_no_file_outside_is_opened(tmp_path: Path) -> None:
    outside = write_tiny_folder(tmp_path / "outside")
    secret = outside / "model.safetensors"
    tensor = "lm_head.weight"
    folders = [
        index_of(tmp_path / "a", **{tensor: "../outside/model.safetensors"}),
        index_of(tmp_path / "b", **{tensor: str(secret)}),
        index_of(tmp_path / "c", **{tensor: "/etc/passwd"}),
        index_of(tmp_path / "d", **{tensor: "link.safetensors"}),
        index_of(tmp_path / "e", **{tensor: "sub/model.safetensors"}),
        write_tiny_folder(tmp_path / "f"),
        write_tiny_folder(tmp_path / "g"),
        write_tiny_folder(tmp_path / "snapshots" / "h"),
    ]
    folders[3].joinpath("link.safetensors").symlink_to(secret)
    folders[4].joinpath("sub").symlink_to(outside)
    for folder in folders[5:]:
        folder.joinpath("model.safetensors").unlink()
        folder.joinpath("model.safetensors").symlink_to(secret)
    folders[6].joinpath("config.json").unlink()
    folders[6].joinpath("config.json").symlink_to(outside / "config.json")
    sound = write_tiny_folder(tmp_path / "sound", shards=2)
    opened, errors = watched([*folders, sound])
    assert [errors[str(folder)] for folder in folders] == ["BadModelFile"] * len(folders)
    assert errors[str(sound)] is None
    assert str(sound / "config.json") in opened
    homes = [str(folder) + os.sep for folder in (*folders, sound)]
    assert not [name for name in opened if not any(name.startswith(home) for home in homes)]
    assert not [name for name in opened if "link" in name or "sub" in name]


class _Evil:
    def __init__(self, marker: Path):
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._marker,)


def evil_folders(place: Path, marker: Path) -> list[Path]:
    """Folders that run something in a loader that trusts them."""
    folders = []
    for name in ("pytorch_model.bin", "model.pt", "m.pth", "model.ckpt", "m.pkl", "tf_model.h5"):
        folder = write_tiny_folder(place / name.partition(".")[2] / name.partition(".")[0])
        folder.joinpath("model.safetensors").unlink()
        folder.joinpath(name).write_bytes(pickle.dumps(_Evil(marker)))
        folders.append(folder)
    code = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    for number, config in enumerate(
        (
            {"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}},
            {"model_type": "evil", "auto_map": {"AutoConfig": "evil--evil.Config"}},
            {"_attn_implementation_internal": "./evil"},
            {"custom_generate": "evil"},
            {"quantization_config": {"quant_method": "evil"}},
        )
    ):
        folder = write_tiny_folder(place / f"code{number}", config=config)
        folder.joinpath("evil.py").write_text(code)
        folder.joinpath("build.toml").write_text("")
        folders.append(folder)
    return folders


def test_pickle_and_code_are_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    folders = evil_folders(tmp_path / "models", marker)
    # The pickles are sharp.
    pickle.loads(folders[0].joinpath("pytorch_model.bin").read_bytes())
    assert marker.exists()
    marker.unlink()
    opened, errors = watched(folders)
    assert set(errors.values()) == {"UnsafeFormat"} and len(errors) == len(folders) == 11
    assert not [name for name in opened if name.endswith((".py", ".bin", ".pt", ".ckpt"))]
    for folder in folders:
        with pytest.raises(UnsafeFormat):
            store.resolve(str(folder))
    assert not marker.exists()


def test_pickle_beside_safetensors_is_left_alone(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    folder = write_tiny_folder(tmp_path / "m")
    folder.joinpath("pytorch_model.bin").write_bytes(pickle.dumps(_Evil(marker)))
    opened, errors = watched([folder])
    assert errors == {str(folder): None}
    assert not [name for name in opened if name.endswith(".bin")] and not marker.exists()


def test_damaged_safetensors_beside_pickle_do_not_fall_back(tmp_path: Path) -> None:
    folder = write_tiny_folder(tmp_path / "m")
    folder.joinpath("pytorch_model.bin").write_bytes(pickle.dumps(_Evil(tmp_path / "marker")))
    folder.joinpath("model.safetensors").write_bytes(b"damaged")
    opened, errors = watched([folder])
    assert errors == {str(folder): "BadModelFile"}
    assert not [name for name in opened if name.endswith(".bin")]
