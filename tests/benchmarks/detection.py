"""What a model is, and what runs it, takes less than 1 ms to know."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import MODEL, median, shown, verdict

from llmspell_jupyter.engine import architectures
from llmspell_jupyter.models import inspect, store
from llmspell_jupyter.models.folder import inspect_folder
from tests.support.tiny_safetensors import write_tiny_folder

ROUNDS = 100


def run() -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = write_tiny_folder(Path(name, "t5"), kind="t5")
        file = store.resolve(MODEL).path

        def known(model: str) -> Callable[[], object]:
            # What every request does: find the model by its name, see that it has not changed.
            return lambda: architectures.detect(store.resolve(model))

        works: dict[str, Callable[[], object]] = {
            f"{MODEL}, its file known": known(MODEL),
            "a T5 folder, known": known(str(folder)),
            "a T5 folder, read and checked": lambda: inspect_folder(folder).model_type,
            f"{MODEL}, its header read and checked": lambda: inspect.read_gguf(file).architecture,
        }
        took: dict[str, list[float]] = {each: [] for each in works}
        for _ in range(ROUNDS):
            for each, work in works.items():
                begun = time.perf_counter()
                work()
                took[each].append(1000 * (time.perf_counter() - begun))
    for each, milliseconds in took.items():
        print(f"  {each}: {shown(milliseconds, 'ms')}")
    *quick, _ = took.values()
    return verdict("the slowest of the first three takes", max(map(median, quick)), 1, "ms")
