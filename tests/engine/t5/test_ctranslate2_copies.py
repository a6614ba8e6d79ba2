"""The copy of a model for CTranslate2 is made once, whole, and in a place where it may lie."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.engine import dispatch
from llmspell_jupyter.engine.backends._ctranslate2 import gpu
from llmspell_jupyter.engine.backends._ctranslate2.copies import (
    copy_of,
    lack_of_room,
)
from llmspell_jupyter.engine.backends.ctranslate2_t5 import CTranslate2T5
from llmspell_jupyter.errors import BadModelFile, EngineError
from llmspell_jupyter.types import (
    GenerationRequest,
    LoadOptions,
    LoadRequest,
    ModelInfo,
    Sampling,
)
from tests.support.random_t5 import write_random_t5

# An exabyte.
ENDLESS = 10**18

# Loads a model in a process of its own and says so.
LOADER = """
import sys
from pathlib import Path
from llmspell_jupyter.engine.backends.ctranslate2_t5 import CTranslate2T5
from llmspell_jupyter.types import LoadOptions, ModelInfo
info = ModelInfo("m", "candle", Path(sys.argv[1]), "safetensors", 0, 0, architecture="t5")
def progress(done):
    print(done, flush=True)
    if 0 < done < 0.5 and sys.argv[2:] == ["wait"]:
        sys.stdin.read()
CTranslate2T5.load(info, LoadOptions(), progress).close()
print("loaded")
"""


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data" / "llmspell" / "converted"


@pytest.fixture
def model(tmp_path: Path) -> ModelInfo:
    folder = write_random_t5(tmp_path / "model")
    return ModelInfo(
        "m", "candle", folder, "safetensors", 0, 0, architecture="t5", parameter_count=100_000
    )


def load(model: ModelInfo) -> list[float]:
    """Load it; what progress was told."""
    told: list[float] = []
    CTranslate2T5.load(model, LoadOptions(device="cpu"), told.append).close()
    assert told == sorted(told)
    assert told[-1] == 1
    return told


def copies(place: Path) -> list[str]:
    return sorted(each.name for each in place.iterdir() if each.name != "lock")


def loader(model: ModelInfo, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LOADER, str(model.path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_is_made_once(model: ModelInfo) -> None:
    assert len(load(model)) > 10
    made = copies(model.path / ".llmspell")
    assert len(made) == 1
    assert load(model) == [1.0]
    assert copies(model.path / ".llmspell") == made


def test_changed_weights_make_another_one_and_remove_the_old(model: ModelInfo) -> None:
    load(model)
    (before,) = copies(model.path / ".llmspell")
    weights = model.path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert len(load(model)) > 10
    (after,) = copies(model.path / ".llmspell")
    assert before != after


def test_one_that_came_with_the_model_is_not_taken(model: ModelInfo, tmp_path: Path) -> None:
    load(model)
    there = tmp_path / "downloaded"
    # Names, sizes and dates are those of the model that it was made for.
    subprocess.run(["cp", "-a", str(model.path), str(there)], check=True)
    assert len(load(replace(model, path=there))) > 10


def test_one_that_is_damaged_is_named(model: ModelInfo) -> None:
    load(model)
    (name,) = copies(model.path / ".llmspell")
    file = model.path / ".llmspell" / name / "model.bin"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BadModelFile) as caught:
        load(model)
    assert str(file.parent) in caught.value.hint


def test_a_process_killed_while_it_converts_leaves_nothing_that_is_used(model: ModelInfo) -> None:
    place = model.path / ".llmspell"
    with loader(model, "wait") as process:
        assert process.stdout is not None
        while not 0 < float(process.stdout.readline()) < 0.5:
            pass
        (partial,) = copies(place)
        assert partial.startswith(".partial-")
        assert copy_of(model, "int8").found() is None
        process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    assert len(load(model)) > 10
    (made,) = copies(place)
    assert made == copy_of(model, "int8").name


def test_two_processes_at_once_make_one(model: ModelInfo) -> None:
    both = [loader(model), loader(model)]
    said = [each.communicate(timeout=60) for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    made = [len(out.splitlines()) > 10 for out, _ in said]
    assert all(out.endswith("loaded\n") for out, _ in said)
    assert any(made)
    assert copies(model.path / ".llmspell") == [copy_of(model, "int8").name]


def test_it_lies_in_the_data_folder_when_the_model_may_not_be_touched(
    model: ModelInfo, data_folder: Path
) -> None:
    # A file in the way stops the superuser, too.
    (model.path / ".llmspell").write_text("")
    load(model)
    (place,) = data_folder.iterdir()
    assert len(copies(place)) == 1
    assert load(model) == [1.0]


def test_nothing_is_written_into_an_installed_package(model: ModelInfo, data_folder: Path) -> None:
    before = sorted(model.path.iterdir())
    load(replace(model, store="bundled"))
    assert sorted(model.path.iterdir()) == before
    assert len(list(data_folder.iterdir())) == 1


def test_no_place_at_all_is_an_error_that_says_so(model: ModelInfo, data_folder: Path) -> None:
    (model.path / ".llmspell").write_text("")
    data_folder.parent.mkdir(parents=True)
    data_folder.write_text("")
    with pytest.raises(EngineError, match="cannot be written") as caught:
        load(model)
    assert "dtype" in caught.value.hint


def test_a_full_disk(model: ModelInfo) -> None:
    copy = copy_of(model, "int8")
    assert lack_of_room(copy, 1000) is None
    assert "MB are free" in (lack_of_room(copy, ENDLESS) or "")
    with pytest.raises(EngineError, match="MB are free"):
        copy.make(ENDLESS, lambda folder: None)
    assert "MB are free" in (
        CTranslate2T5.refuses(replace(model, parameter_count=ENDLESS), request()) or ""
    )

    def fill(folder: Path) -> None:
        (folder / "model.bin").write_bytes(b"x")
        raise OSError(28, os.strerror(28))

    with pytest.raises(EngineError, match="No space left"):
        copy.make(1, fill)
    assert copies(model.path / ".llmspell") == []
    load(model)
    assert lack_of_room(copy, ENDLESS) is None, "one that is there takes no more room"


def request(*, device: Any = "cpu", dtype: Any = "auto", **fields: Any) -> GenerationRequest:
    options = LoadOptions(device=device, dtype=dtype)
    return GenerationRequest(model="m", prompt="x", options=options, **fields)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (request(), None),
        (request(dtype="int8"), None),
        (request(stop=("x",)), None),
        (request(sampling=Sampling(temperature=0, top_p=0.9, seed=1, repeat_penalty=1)), None),
        (LoadRequest(model="m", options=LoadOptions(device="cpu")), None),
        (request(device="cuda"), "cuda was asked for"),
        (request(device="metal"), "metal was asked for"),
        (request(dtype="float32"), "float32 was asked for"),
        (request(logprobs=0), "logprobs was asked for"),
        (request(json_schema={}), "json_schema was asked for"),
        (request(sampling=Sampling(num_beams=4)), "num_beams was asked for"),
        (request(sampling=Sampling(temperature=0.7)), "the temperature is 0.7"),
        (request(sampling=Sampling(repeat_penalty=1.1)), "repeat_penalty is 1.1"),
        (
            LoadRequest(model="m", options=LoadOptions(device="cpu", dtype="bfloat16")),
            "bfloat16 was asked for",
        ),
    ],
)
def test_what_it_leaves_to_torch(model: ModelInfo, asked: Any, reason: str | None) -> None:
    said = CTranslate2T5.refuses(model, asked)
    assert said is None if reason is None else said is not None and said.startswith(reason)


def test_the_engine_takes_it_where_it_will_do(model: ModelInfo) -> None:
    assert dispatch.choose(model, request()) == dispatch.Choice("ctranslate2_t5")
    left = dispatch.choose(model, request(sampling=Sampling(num_beams=2)))
    assert left.backend == "torch_t5"
    assert left.reason.startswith("num_beams was asked for")


@pytest.mark.parametrize(
    ("platform", "machine", "cuda", "driver", "found"),
    [
        ("linux", "x86_64", "'12.8'", "dev/nvidiactl", "an NVIDIA GPU"),
        ("linux", "x86_64", "'12.8'", "usr/lib/wsl/lib/libcuda.so.1", "an NVIDIA GPU"),
        ("win32", "AMD64", "'12.8'", "Windows/System32/nvcuda.dll", "an NVIDIA GPU"),
        ("linux", "x86_64", "'12.8'", None, None),
        ("linux", "x86_64", "None", "dev/nvidiactl", None),
        ("linux", "x86_64", None, "dev/nvidiactl", None),
        ("darwin", "arm64", "None", None, "Apple's GPU"),
        ("darwin", "x86_64", "None", None, None),
        ("darwin", "arm64", None, None, None),
    ],
)
def test_where_torch_would_compute(
    tmp_path: Path,
    platform: str,
    machine: str,
    cuda: str | None,
    driver: str | None,
    found: str | None,
) -> None:
    torch = tmp_path / "torch"
    if cuda is not None:
        torch.mkdir()
        text = f"__version__ = '2.13.0'\ndebug = False\ncuda: Optional[str] = {cuda}\nhip = None\n"
        (torch / "version.py").write_text(text)
    if driver is not None:
        (tmp_path / driver).parent.mkdir(parents=True)
        (tmp_path / driver).touch()
    installed = torch if cuda is not None else None
    assert gpu.torch_gpu(platform, machine, installed, tmp_path) == found


def test_the_installed_torch_is_found_without_importing_it() -> None:
    code = (
        "import sys\n"
        "from llmspell_jupyter.engine.backends._ctranslate2 import gpu\n"
        "print((gpu.torch_folder() / 'version.py').is_file(), 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "True False\n"
