"""The speed foretold of models that were never run is within 25 % of what they then reach."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

from common import MODEL, median, shown, verdict

from llmspell_jupyter.engine.backend import Finished
from llmspell_jupyter.engine.probe import BACKEND
from llmspell_jupyter.engine.speed import USUAL_CONTEXT, Speeds, judged_file
from llmspell_jupyter.engine.worker_process import WorkerProcess
from llmspell_jupyter.models import probe_gguf, store
from llmspell_jupyter.models.gguf_kinds import KINDS
from llmspell_jupyter.models.probe_gguf import Shape
from llmspell_jupyter.types import GenerationRequest, LoadOptions, ModelInfo, Sampling

_ROUNDS, _ANSWERS, _TOKENS = 5, 3, 48

# A machine that is too busy to be measured is asked again so many times.
_PATIENCE = 10

# As SmolLM2-360M's, with one table more.
_LARGER = Shape(
    layers=32, width=1024, inner=2560, heads=16, key_heads=8, vocabulary=49_152, context=2048
)
_OPTIONS = LoadOptions(context_size=1024, max_concurrent=1)


async def _foretold(model: ModelInfo, folder: Path) -> float:
    """What is expected of it on a machine of which nothing is known yet."""
    with tempfile.TemporaryDirectory(dir=folder) as room:
        for _ in range(_PATIENCE):
            speeds = Speeds(Path(room, "speeds.json"))
            found, note, _ = await speeds.expect(judged_file(model), _OPTIONS, USUAL_CONTEXT)
            if found is not None:
                return found.expected
    raise AssertionError(note)


async def _reached(model: ModelInfo, word: str) -> float:
    """What it reaches, after a prompt that repeats a text of one token."""
    worker = WorkerProcess(model, BACKEND, _OPTIONS)
    worker.start()
    found = []
    try:
        async for _ in worker.loading():
            pass
        for number in range(_ANSWERS + 1):
            request = GenerationRequest(
                model=model.id,
                # The answer's middle has the usual context behind it.
                prompt=word * (USUAL_CONTEXT - _TOKENS // 2),
                max_tokens=_TOKENS,
                sampling=Sampling(temperature=0, logit_bias=((2, -float("inf")),)),
                options=_OPTIONS,
            )
            async for event in worker.answer(f"r{number}", request):
                last = event
            if number:
                assert isinstance(last, Finished), last
                found.append(float(last.usage["tokens_per_second"]))
    finally:
        await worker.stop()
    return median(found)


def run() -> bool:
    good = True
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = folder / "larger.gguf"
        probe_gguf.write(path, _LARGER, KINDS["Q4_K"], KINDS["F32"])
        larger = replace(store.resolve(str(path)), id="larger")
        for model, word in ((store.resolve(MODEL), " sea"), (larger, "b")):
            # Neighbours come and go: both are measured anew, one right after the other.
            pairs = [
                (asyncio.run(_foretold(model, folder)), asyncio.run(_reached(model, word)))
                for _ in range(_ROUNDS)
            ]
            foretold, reached = zip(*pairs, strict=True)
            print(f"  {model.id}, {model.size_bytes / 1e6:.0f} MB")
            print(f"    foretold: {shown(foretold, 'tokens/s')}")
            print(f"    reached: {shown(reached, 'tokens/s')}")
            off = [abs(a / b - 1) * 100 for a, b in pairs]
            print(f"    off: {shown(off, '%')}")
            good &= verdict(f"{model.id} is foretold within", median(off), 25, "%")
    return good
