"""Ctrl-C stops whatever runs, at once, and leaves the kernel, Lua and the engine usable."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.kernels import Notebook, Output, notebook

# Twice what is promised: the machine that runs this may be busy.
SECONDS = 2.0

LOOPS = {
    "plain": "while true do end",
    "in pcall": "while true do pcall(function() while true do end end) end",
    "in a coroutine": "coroutine.wrap(function() while true do end end)()",
    "in a metamethod": "local t = setmetatable({}, {__index = function() while true do end end})\nprint(t.x)",
    "in gsub": "string.gsub('x', '.', function() while true do end end)",
}  # fmt: skip


def _stopped(book: Notebook, source: str, until: object) -> Output:
    book.good("%%lua\nkept = 'yes'")
    output = book.run(source, until=until, then=book.interrupt)  # type: ignore[arg-type]
    assert output.error == "Interrupted", output
    assert output.seconds < SECONDS
    assert book.value("%lua kept") == "'yes'"
    return output


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop(book: Notebook, loop: str) -> None:
    """L5."""
    _stopped(book, f"%%lua\nprint('running')\n{LOOPS[loop]}", lambda output: output.stdout)


def test_while_answering(book: Notebook) -> None:
    """E5: the answer stops in the engine, too, and the next one is right."""
    _stopped(
        book,
        """%%lua
local agent = Agent.builder():name("long"):model("smollm2"):temperature(0.9):max_tokens(4000)
  :build()
agent:invokeStream("Tell me a very long story about the sea.", function(c) io.write(c.text) end)""",
        lambda output: len(output.stdout) > 20,
    )
    assert _correct(book)


def test_while_reading_the_prompt(live_book: Notebook) -> None:
    """E5."""
    _stopped(
        live_book,
        """%%lua
local agent = Agent.builder():model("smollm2"):max_tokens(8):build()
agent:execute(string.rep("The sea is wide and the ships are small. ", 350))""",
        lambda output: "reading the prompt" in json.dumps(output.shown + output.updates),
    )
    assert _correct(live_book)


def test_an_interrupted_answer_is_not_remembered(book: Notebook) -> None:
    book.good(
        """%%lua
function make(name)
  return Agent.builder():name(name):model("smollm2"):system_prompt("Be brief."):max_tokens(400)
    :temperature(0):build()
end
keeper, fresh = make("keeper"), make("fresh")"""
    )
    book.run(
        "%%lua\nkeeper:invokeStream('Tell me a long story.', function(c) io.write(c.text) end)",
        until=lambda output: bool(output.stdout),
        then=book.interrupt,
    )
    assert book.value("%lua keeper:get_state()") == "'Ready'"
    after = book.value("%lua keeper:execute('Hello.').metadata.prompt_tokens")
    assert after == book.value("%lua fresh:execute('Hello.').metadata.prompt_tokens")


def test_python_code_that_waits_for_an_answer(book: Notebook) -> None:
    book.good("from llmspell_jupyter import Agent")
    output = book.run(
        "Agent.builder().model('smollm2').max_tokens(4000).build()"
        ".invokeStream('Tell me a long story.', lambda c: print(c['text']))",
        until=lambda output: bool(output.stdout),
        then=book.interrupt,
    )
    assert output.error == "KeyboardInterrupt"
    assert output.seconds < SECONDS
    assert _correct(book)


def test_while_the_engine_hangs(tmp_path: Path) -> None:
    """A stopped engine holds up no cell; it goes on where it was."""
    with notebook(JUPYTER_RUNTIME_DIR=str(tmp_path)) as own:
        own.good("%%lua\nkept = 'yes'; LocalLLM.list()")
        own.good("from llmspell_jupyter.runtime import runtime")
        engine = int(own.value("runtime.current().engine.status()['pid']"))
        os.kill(engine, signal.SIGSTOP)
        output = own.run(
            "%%lua\nprint('running')\nLocalLLM.list()",
            until=lambda output: bool(output.stdout),
            then=own.interrupt,
        )
        os.kill(engine, signal.SIGCONT)
        assert output.error == "Interrupted"
        assert output.seconds < SECONDS
        assert own.value("%lua kept") == "'yes'"
        assert int(own.value("%lua #LocalLLM.list()")) > 0
        own.good("runtime.current().engine.shutdown()")


def test_a_call_that_nothing_can_break_off(book: Notebook) -> None:
    """A hostile pattern runs inside one C call: the Lua state is given up, the kernel is not."""
    output = book.run(
        "%%lua\nprint('running')\n"
        "string.find(string.rep('a', 40), string.rep('a?', 40) .. string.rep('a', 41))",
        until=lambda output: bool(output.stdout),
        then=book.interrupt,
    )
    assert output.error == "Interrupted"
    assert output.seconds < 3
    assert book.value("%lua 1 + 1") == "2"


BROKEN_OUTPUT = """
import contextlib
class Full:
    encoding = "utf-8"
    def write(self, text):
        raise OSError(28, "No space left on device")
    def flush(self):
        pass
with contextlib.redirect_stdout(Full()):
    get_ipython().run_cell_magic("lua", "", "kept = 'yes' print('x') while true do end")"""


def test_a_script_whose_output_cannot_be_shown_is_stopped(book: Notebook) -> None:
    output = book.run(BROKEN_OUTPUT)
    assert output.error == "OSError", output
    assert book.value("%lua kept") == "'yes'"


def test_ctrl_c_at_any_moment_of_a_cell_leaves_nothing_running() -> None:
    """Also before anybody follows its script: the next cell works, and globals are kept."""
    program = """
import sys
from IPython.core.interactiveshell import InteractiveShell
from llmspell_jupyter.errors import Interrupted
from tests.support.interrupts import interrupted

shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "llmspell_jupyter")
shell.run_line_magic("lua", "kept = 'yes'")
running = 0

def cell():
    try:
        shell.run_cell_magic("lua", "", "print('running') while true do end")
    except Interrupted:
        global running
        running += 1
        raise KeyboardInterrupt

moment = 0
while running < 20 and interrupted(cell, moment):
    assert shell.run_line_magic("lua", "kept") == "yes", moment
    moment += 1
print(moment, running)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    moments, stopped = map(int, done.stdout.splitlines()[-1].split())
    assert moments > 100 and stopped == 20


def test_text_that_the_terminal_cannot_show_is_written_with_marks(tmp_path: Path) -> None:
    cells = tmp_path / "cells.ipy"
    cells.write_text(
        "%load_ext llmspell_jupyter\n"
        "%lua print(('é'):sub(1, 1) .. '|' .. '€')\n"
        "print('next', get_ipython().run_line_magic('lua', '1 + 1'))\n",
        "utf-8",
    )
    for encoding, shown in (("utf-8", "?|€"), ("ascii", "?|?")):
        done = subprocess.run(
            [sys.executable, "-m", "IPython", "--colors=NoColor", str(cells)],
            env=os.environ | {"PYTHONIOENCODING": encoding, "IPYTHONDIR": str(tmp_path)},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.decode("utf-8").split("\n") == [shown, "next 2", ""], done


def _correct(book: Notebook) -> bool:
    answer = book.good(
        "%%lua\nprint(Agent.builder():model('smollm2'):temperature(0):max_tokens(32)"
        ":system_prompt('You are a helpful assistant.'):build()"
        ":complete('Give me a one-sentence definition of gravity.'))"
    )
    return answer.stdout.startswith("Gravity is")
