"""Loading and unloading from a cell, and what a cell says of devices."""

from __future__ import annotations

import sys

import pytest

from tests.support.kernels import Notebook

SECONDS = 2.0
OTHER = "cuda" if sys.platform == "darwin" else "metal"
NOTE = f"echo · {OTHER} was asked for, and the CPU computes"

ASK = f"""%%lua
local agent = Agent.builder():model("echo"):device("{OTHER}"):build()
for i = 1, 3 do agent:execute("x") end
agent:invokeStream("x y", function(c) end)"""


def test_a_load_is_seen_and_told(live_book: Notebook) -> None:
    output = live_book.good("%model_load echo:slow")
    lines = [data["text/plain"] for data in [*output.shown, *output.updates]]
    assert any(line.startswith("echo:slow · loading, ") and line.endswith(" %") for line in lines)
    assert lines[-1] == "" and len(output.shown) == 1
    assert output.stdout.startswith("echo:slow · ready on cpu in ")
    assert "(echo) · why: " in output.stdout
    assert " in " not in live_book.good("%model_load echo:slow").stdout.split("(")[0]
    assert live_book.good("%model_unload echo:slow").stdout == "echo:slow is unloaded.\n"
    assert live_book.good("%model_unload echo:slow").stdout == "echo:slow is not loaded.\n"


def test_the_real_model(book: Notebook) -> None:
    book.good("%model_unload smollm2:135m")
    told = book.good("%model_load smollm2").stdout
    assert told.startswith("smollm2:135m · ready on ") and "llama_cpp, Q4_1" in told
    status = book.good("%llmspell_status").stdout
    assert "WHY" in status and told.split("why: ")[1].strip() in status
    assert "ready on" in book.good("%model_load").stdout, "the profile's model"


def test_ctrl_c_gives_a_load_up(live_book: Notebook) -> None:
    live_book.good("from llmspell_jupyter.runtime import runtime")
    output = live_book.run(
        "%model_load echo:slow",
        until=lambda output: any("loading, " in str(data) for data in output.updates),
        then=live_book.interrupt,
    )
    assert output.error == "Interrupted" and "given up" in output.traceback
    assert output.seconds < SECONDS
    workers = (
        "[w for w in runtime.current().engine.status()['workers'] if w['model'] == 'echo:slow']"
    )
    assert live_book.value(workers) == "[]"
    assert "ready" in live_book.good("%model_load echo:slow").stdout
    live_book.good("%model_unload echo:slow")


def test_ctrl_c_gives_a_load_of_a_script_up(live_book: Notebook) -> None:
    output = live_book.run(
        "%%lua\nLocalLLM.load('echo:slow')",
        until=lambda output: any("loading, " in str(data) for data in output.updates),
        then=live_book.interrupt,
    )
    assert output.error == "Interrupted" and output.seconds < SECONDS


def test_a_model_that_works_is_kept(book: Notebook) -> None:
    book.good("from llmspell_jupyter import Agent, LocalLLM")
    book.good(
        """import threading
from llmspell_jupyter.runtime import runtime
from llmspell_jupyter.types import Chunk, GenerationRequest
work = runtime.current().engine.generate(
    GenerationRequest("smollm2", prompt="Once", max_tokens=4000)
)
parts = iter(work)
while not isinstance(next(parts), Chunk): pass"""
    )
    output = book.run("%model_unload smollm2:135m")
    assert output.error == "EngineBusy"
    assert "%model_unload smollm2:135m --force" in output.traceback
    assert "unloaded" in book.good("%model_unload smollm2:135m --force").stdout
    assert book.run("list(parts)").error == "Interrupted"


def test_a_note_stays_in_the_cell_once(live_book: Notebook) -> None:
    output = live_book.good(ASK)
    assert len(output.shown) == 1
    last = output.updates[-1]["text/plain"]
    assert last.startswith(NOTE) and last.count(OTHER) == 1
    assert output.stdout == ""


def test_a_note_is_printed_where_nothing_lives(book: Notebook) -> None:
    output = book.good(ASK)
    assert output.stdout.startswith(NOTE) and output.stdout.count(OTHER) == 1
    assert not output.shown
    assert book.good(ASK).stdout == output.stdout, "once for each cell"


@pytest.mark.parametrize("line", ["%model_load smolm2", "%model_unload smolm2"])
def test_a_name_that_is_wrong(book: Notebook, line: str) -> None:
    output = book.run(line)
    assert output.error == "ModelNotFound" and "smollm2" in output.traceback
