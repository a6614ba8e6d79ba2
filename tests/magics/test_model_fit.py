"""Whether a model fits, in a cell and in a terminal."""

from __future__ import annotations

import json

from tests.support.engines import jupyter_llmspell, runtime_folder
from tests.support.kernels import notebook


def test_a_model_of_the_catalog_is_judged_without_a_network() -> None:
    with runtime_folder(HF_HUB_OFFLINE="1") as environment:
        with notebook(**environment) as book:
            told = book.good("%model_fit qwen3-14b").stdout
            assert told.startswith("qwen3-14b:Q4_K_M ") and " · 9.0 GB Q4_K_M · cpu" in told
            assert "It takes 9.0 GB of the disk" in told
            assert "\n4,096 " in told
            mistake = book.run("%model_fit")
            assert mistake.error == "RequestError" and "%model_fit MODEL" in mistake.traceback
        done = jupyter_llmspell(environment, "--output", "json", "model", "fit", "qwen3-14b")
        judged = json.loads(done.stdout)
        assert (judged["model"], judged["source"]) == ("qwen3-14b:Q4_K_M", "catalog")
        assert judged["light"] in ("green", "amber", "red")


def test_what_is_too_large_says_by_how_much() -> None:
    with (
        runtime_folder(LLMSPELL_ENGINE_MEMORY_LIMIT_BYTES="200000000") as environment,
        notebook(**environment) as book,
    ):
        told = book.good("%model_fit smollm2:135m").stdout
        assert told.startswith("smollm2:135m does not fit (red)")
        assert "memory_limit_bytes" in told
