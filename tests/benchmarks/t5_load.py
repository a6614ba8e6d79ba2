"""A T5 of the size of t5-small is ready in less than 400 ms, once torch is imported."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from common import RUNS, median, shown, verdict

from llmspell_jupyter.engine.backends.torch_t5 import BACKEND
from llmspell_jupyter.types import LoadOptions, ModelInfo
from tests.support.random_t5 import T5_SMALL, write_random_t5


def run() -> bool:
    took: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        folder = write_random_t5(Path(place, "t5"), shape=T5_SMALL, tokenizer="json")
        size = (folder / "model.safetensors").stat().st_size
        info = ModelInfo("t5", "candle", folder, "safetensors", size_bytes=size, modified_at=0)
        for number in range(RUNS):
            begun = time.perf_counter()
            BACKEND.load(info, LoadOptions(dtype="float32"), lambda share: None)
            if number:
                took.append(1000 * (time.perf_counter() - begun))
    print(f"  {size / 1e6:.0f} MB: {shown(took, 'ms')}")
    return verdict("a T5 loads in", median(took), 400, "ms")
