"""A script that nothing can stop: in one call of a library, in a program of its own."""

from __future__ import annotations

from tests.support.engines import RunningEngine, python

#: Lua that takes longer in one call than a script that was stopped is waited for.
STUCK = "string.find(('a'):rep(60), ('a?'):rep(60) .. ('a'):rep(60))"

_PROGRAM = """
import os, sys
from llmspell_jupyter.errors import Interrupted
from llmspell_jupyter.runtime.host import Printed
from llmspell_jupyter.runtime.runtime import Runtime
from tests.support.engines import wait_for

runtime = Runtime()
shown = []
runtime.show = runtime.show_pull = shown.append
execution = runtime.start_lua(sys.argv[1], "cell[1]")
for event in execution.events():
    shown.append(event)
    if isinstance(event, Printed):
        execution.stop("enough")
try:
    execution.result()
except Interrupted as error:
    assert error.data["lost"]
    wait_for(lambda: not runtime.engine.status()["jobs"])
    last = shown[-1]
    print(type(last).__name__, getattr(last, "part", None) or getattr(last, "progress", None))
sys.stdout.flush()
# The call that is stuck goes on.
os._exit(0)
"""


def shown_last(engine: RunningEngine, source: str) -> str:
    """What is shown last of a script that prints something, is stopped then, and is lost."""
    program = python(engine.environment, "-c", _PROGRAM, source)
    out, errors = program.communicate(timeout=60)
    assert not program.returncode, errors
    return out.strip()
