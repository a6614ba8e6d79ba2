"""T5 requests of several clients, through the engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.engines import engine
from tests.support.random_t5 import write_random_t5


def test_clients_decode_together_and_get_what_each_gets_alone(tmp_path: Path) -> None:
    model = str(write_random_t5(tmp_path / "t5"))
    prompts = [f"translate English to German: {words}" for words in ("one", "two", "three", "four")]
    # Without an end they stay long enough to meet; ctranslate2 would not take this.
    body = {"model": model, "max_tokens": 300, "temperature": 0, "logit_bias": {"1": -100}}
    with engine() as running, ThreadPoolExecutor(len(prompts)) as clients:

        def ask(prompt: str) -> str:
            answer = running.complete(prompt=prompt, **body).json()
            return str(answer["choices"][0]["text"])

        alone = [ask(prompt) for prompt in prompts]
        (worker,) = running.status()["workers"]
        assert worker["engine_backend"] == "torch" and worker["batched_decode_calls"] == 0
        together = list(clients.map(ask, prompts))
        (worker,) = running.status()["workers"]
    assert together == alone
    assert worker["batched_decode_calls"] > 100
    assert worker["decode_calls"] < 2 * 4 * 300
