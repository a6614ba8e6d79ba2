import os
import struct
import subprocess
import sys

import pytest

from llmspell_jupyter.engine.backend import Failed
from llmspell_jupyter.engine.backends._llama.library import install_line
from llmspell_jupyter.engine.backends.llama_cpp import BACKEND
from llmspell_jupyter.errors import BadModelFile, RequestError
from llmspell_jupyter.types import Sampling
from tests.support import llama
from tests.support.llama import ask, run, say, text
from tests.support.tiny_gguf import write_tiny_gguf


@pytest.mark.parametrize(
    "options", [{"context_size": -1}, {"batch_size": 0}, {"cpu_threads": -1}, {"cpu_threads": 1e9}]
)
def test_options_out_of_range(load, tiny_file, options):
    with pytest.raises(RequestError, match=next(iter(options))):
        load(tiny_file, **options)


def test_facts(load, tiny_file, smollm2_file):
    facts = load(smollm2_file, context_size=0).describe()
    assert facts["engine_backend"] == "llama_cpp"
    assert facts["device"] == "cpu"
    assert facts["architecture"] == "llama"
    assert facts["context_size"] == 8192
    threads = {
        count: (facts["threads"], facts["threads_batch"])
        for count in (1, 2, 4)
        for facts in [load(tiny_file, cpu_threads=count).describe()]
    }
    assert threads == {1: (1, 1), 2: (1, 2), 4: (3, 4)}


def test_a_model_without_a_template_takes_prompts_only(load, tmp_path):
    backend = load(write_tiny_gguf(tmp_path / "plain.gguf", template=None))
    with pytest.raises(RequestError, match="no chat template") as caught:
        backend.start("r", ask(say("hello")), lambda: False)
    assert "plain prompt" in caught.value.hint
    assert text(run(backend, ask("hello")))


def test_a_template_that_fails_is_named(load, tmp_path):
    template = "{{ raise_exception('no system message, please') }}"
    backend = load(write_tiny_gguf(tmp_path / "strict.gguf", template=template))
    with pytest.raises(RequestError, match="no system message, please"):
        backend.start("r", ask(say("hello")), lambda: False)


def test_closing_twice_and_with_work_left(tiny_file):
    backend = llama.load(tiny_file)
    backend.start("r", ask("hello"), lambda: False)
    backend.step()
    backend.start("s", ask("hello"), lambda: False)
    backend.close()
    backend.close()
    assert backend.active == 0


def test_a_model_with_an_encoder_is_refused(tmp_path):
    path = write_tiny_gguf(tmp_path / "other.gguf", kind="t5")
    with pytest.raises(BadModelFile, match=r"not a model that continues text.*t5"):
        llama.load(path)


def test_progress_of_a_load(tiny_file):
    """It runs from 0 to 1 and never back."""
    shares = []
    llama.load(tiny_file, shares.append).close()
    assert shares == sorted(shares)
    assert shares[-1] == 1 and len(shares) > 5


def test_missing_file(tmp_path):
    with pytest.raises(BadModelFile, match="no such file"):
        llama.load(tmp_path / "absent.gguf")


LOAD = """
import sys
from pathlib import Path
from llmspell_jupyter.engine.backends.llama_cpp import BACKEND
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.types import LoadOptions, ModelInfo
info = ModelInfo("a-model", "candle", Path(sys.argv[1]), "GGUF", 0, 0)
try:
    BACKEND.load(info, LoadOptions(), lambda share: None)
except LLMSpellError as error:
    print(type(error).__name__, error.message, error.hint, sep="\\n")
"""


def load_elsewhere(path):
    """Load in a process of its own, since native code may end it."""
    return subprocess.run(
        [sys.executable, "-c", LOAD, path], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda data: b"", "cannot be loaded"),
        (lambda data: os.urandom(4096), "magic"),
        (lambda data: b"GGUF" + b"\xff" * 4096, "version"),
        (lambda data: data[: len(data) // 20], "cannot be loaded"),
        (lambda data: data[:-1000], "not within the file bounds"),
        (lambda data: data.replace(b"llama.block_count", b"llama.block_kount"), "block_count"),
    ],
)
def test_damaged_files_are_refused_with_the_cause(tiny_file, tmp_path, damage, cause):
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damage(tiny_file.read_bytes()))
    ended = load_elsewhere(path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("BadModelFile\n")
    assert str(path) in ended.stdout
    assert cause in ended.stdout


@pytest.mark.parametrize("temperature", [0, 1])
def test_weights_that_are_no_numbers_are_told(load, tiny_file, tmp_path, temperature):
    """No header shows it, so it is seen in the first token."""
    path = tmp_path / "nan.gguf"
    data = tiny_file.read_bytes()
    path.write_bytes(data[:-4096] + struct.pack("<f", float("nan")) * 1024)
    *_, last = llama.events_of(
        load(path), ask("the sea", sampling=Sampling(temperature=temperature))
    )
    assert isinstance(last, Failed)
    assert "NaN" in last.error.message and last.error.hint


def test_native_log_lines_stay_off_the_standard_streams(tiny_file):
    ended = load_elsewhere(tiny_file)
    assert (ended.returncode, ended.stdout) == (0, "")
    # Python's last-resort handler shows our own warning about the context.
    assert "llama_" not in ended.stderr.replace("llama_load", "")


def test_missing_library_names_the_command_that_installs_it(tiny_file):
    """An interpreter where ``llama_cpp`` cannot be found, told so before anything imports it."""
    absent = "import sys; sys.modules['llama_cpp'] = None\n" + LOAD
    ended = subprocess.run(
        [sys.executable, "-c", absent, tiny_file], capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.startswith("BackendMissing\n")
    assert install_line() in ended.stdout
    assert f"{sys.executable} -m pip install" in install_line()
    assert BACKEND.repair_line() == install_line()
