"""A T5 answers through the engine faster than ``generate`` of transformers, both in fp32."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import RUNS, median, shown, verdict

from tests.support.engines import engine
from tests.support.random_t5 import T5_SMALL, write_random_t5

TOKENS = 64
# A token for each byte, and one for the end.
PROMPT = "translate English to German: The house is wonderful, is it not?"

# Whole answers on both sides: reading the prompt, and as many tokens.
PLAIN = """
import json, sys, time
import torch
from transformers import T5ForConditionalGeneration
given = json.loads(sys.stdin.readline())
torch.set_num_threads(given["threads"])
model = T5ForConditionalGeneration.from_pretrained(given["path"], dtype=torch.float32).eval()
ids = torch.tensor([[*(byte + 3 for byte in given["prompt"].encode()), 1]])
print("ready", flush=True)
for line in sys.stdin:
    begun = time.perf_counter()
    answer = model.generate(
        ids, do_sample=False, num_beams=1,
        min_new_tokens=given["tokens"], max_new_tokens=given["tokens"],
    )
    print(json.dumps([time.perf_counter() - begun, answer.shape[1] - 1]), flush=True)
"""


def run() -> bool:
    with tempfile.TemporaryDirectory() as place, engine() as running:
        folder = write_random_t5(Path(place, "t5"), shape=T5_SMALL)

        def ours() -> tuple[float, dict[str, object]]:
            begun = time.perf_counter()
            answer = running.complete(
                model=str(folder),
                prompt=PROMPT,
                max_tokens=TOKENS,
                llmspell={"options": {"dtype": "float32"}},
            ).json()
            return time.perf_counter() - begun, answer["llmspell"]["metadata"]

        _, facts = ours()
        assert (facts["engine_backend"], facts["quantization"]) == ("torch", "F32"), facts
        assert facts["completion_tokens"] == TOKENS, facts
        given = {"path": str(folder), "prompt": PROMPT, "tokens": TOKENS}
        with subprocess.Popen(
            [sys.executable, "-c", PLAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:

            def say(line: str) -> str:
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(line + "\n")
                process.stdin.flush()
                return process.stdout.readline()

            assert say(json.dumps(given | {"threads": facts["threads"]})).strip() == "ready"
            speeds: dict[str, list[float]] = {"the engine": [], "transformers": []}
            for number in range(RUNS):
                seconds, _ = ours()
                plain_seconds, tokens = json.loads(say("go"))
                assert tokens == TOKENS
                if number:
                    speeds["the engine"].append(TOKENS / seconds)
                    speeds["transformers"].append(TOKENS / plain_seconds)
            assert process.stdin is not None
            process.stdin.close()
    print(f"  {facts['threads']} threads to answer, {facts['threads_batch']} to read")
    for name, values in speeds.items():
        print(f"  {name}: {shown(values, 'tokens/s')}")
    ratios = [a / b for a, b in zip(*speeds.values(), strict=True)]
    print(f"  ratio of each pair: {shown(ratios, 'x')}")
    return verdict("T5 through the engine runs at", median(ratios), 1.05, "x generate", least=True)
