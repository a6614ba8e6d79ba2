"""The fast lane answers at least four times as fast as transformers in fp32, on one thread."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from common import RUNS, median, shown, verdict
from transformers import T5ForConditionalGeneration

from llmspell_jupyter.engine.backend import Finished
from llmspell_jupyter.engine.backends.ctranslate2_t5 import CTranslate2T5
from llmspell_jupyter.types import GenerationRequest, LoadOptions, ModelInfo
from tests.support.random_t5 import write_random_t5

# That of t5-small: 60.5 million weights.
SHAPE = {
    "vocab_size": 32_128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_decoder_layers": 6,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}
TOKENS = 64
# A token for each byte, and one for the end.
PROMPT = "translate English to German: The house is wonderful, is it not?"


def fast(model: CTranslate2T5) -> float:
    """Seconds for an answer."""
    request = GenerationRequest(model="random", prompt=PROMPT, max_tokens=TOKENS)
    begun = time.perf_counter()
    model.start("request", request, lambda: False)
    events = []
    while model.active:
        events += model.step()
    seconds = time.perf_counter() - begun
    assert isinstance(events[-1], Finished), events[-1]
    counts = events[-1].usage
    assert (counts["prompt_tokens"], counts["completion_tokens"]) == (64, TOKENS), counts
    return seconds


def plain(model: T5ForConditionalGeneration) -> float:
    """Seconds for an answer of transformers."""
    ids = torch.tensor([[*(byte + 3 for byte in PROMPT.encode()), 1]])
    begun = time.perf_counter()
    answer = model.generate(
        ids, do_sample=False, num_beams=1, min_new_tokens=TOKENS, max_new_tokens=TOKENS
    )
    seconds = time.perf_counter() - begun
    assert answer.shape == (1, TOKENS + 1), answer.shape
    return seconds


def run() -> bool:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = write_random_t5(Path(place) / "random", shape=SHAPE)
        info = ModelInfo("random", "candle", folder, "safetensors", 0, 0, architecture="t5")
        begun = time.perf_counter()
        ours = CTranslate2T5.load(info, LoadOptions(cpu_threads=1), lambda done: None)
        converted = time.perf_counter() - begun
        ours.close()
        begun = time.perf_counter()
        ours = CTranslate2T5.load(info, LoadOptions(cpu_threads=1), lambda done: None)
        print(
            f"  load {converted:.2f} s with conversion, {time.perf_counter() - begun:.2f} s after"
        )
        theirs = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        times: dict[str, list[float]] = {"fast lane": [], "transformers": []}
        for number in range(RUNS + 1):
            pair = fast(ours), plain(theirs)
            if number:
                for values, seconds in zip(times.values(), pair, strict=True):
                    values.append(seconds)
        ours.close()
    for name, values in times.items():
        print(f"  {name}: {shown([TOKENS / each for each in values], 'tokens/s')}")
    ratios = [theirs / ours for ours, theirs in zip(*times.values(), strict=True)]
    print(f"  ratio of each pair: {shown(ratios, 'x')}")
    return verdict("the fast lane runs at", median(ratios), 4.0, "x transformers", least=True)
