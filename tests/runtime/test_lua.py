import contextvars
import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from lua_host import CLASSES, GLOBALS, WHO, Script, TestHost

from llmspell_jupyter.errors import (
    Interrupted,
    ProviderError,
    RequestError,
    ScriptError,
    ScriptTimeout,
)
from llmspell_jupyter.runtime import lua
from llmspell_jupyter.runtime.lua import LuaSession, Printed
from tests.support.interrupts import interrupted


def in_subprocess(code: str) -> str:
    """Runs a test program that may crash; gives what it printed."""
    head = (
        "import sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from lua_host import *\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", head + code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_results(script: Script) -> None:
    assert script("return") is None
    assert script("return nil") is None
    assert script("return 1") == 1
    assert script("return 1, nil, 'x'") == [1, None, "x"]
    assert script("return {}") == {}


def test_expressions(script: Script) -> None:
    assert script("1 + 1", expression=True) == 2
    assert script("x = 5", expression=True) is None
    assert script("x -- a comment", expression=True) == 5
    assert script("local y = x\nreturn y + 1", expression=True) == 6
    with pytest.raises(ScriptError, match="unexpected symbol near"):
        script("1 + 1")


def test_variables_are_set_before_the_script(script: Script) -> None:
    assert script("return ARGS[1], ARGS.input", variables={"ARGS": {1: "a", "input": "b"}}) == [
        "a",
        "b",
    ]
    with pytest.raises(TypeError, match="type object"):
        script.start("return 1", variables={"x": object()})


def test_events_come_in_order_and_can_be_read_again(script: Script) -> None:
    execution = script.start("print(1) Test.post({2}) io.write(3) print(4)")
    expected = [Printed("1\n"), ("posted", [2]), Printed("3"), Printed("4\n")]
    assert list(execution.events()) == expected
    assert list(execution.events()) == []
    assert execution.done


def test_one_script_at_a_time(script: Script) -> None:
    execution = script.start("Test.wait()")
    with pytest.raises(RequestError, match="already runs") as caught:
        script.start("return 1")
    assert "%llmspell_reset" in caught.value.hint
    execution.stop("over")
    with pytest.raises(Interrupted):
        execution.result(10)


def test_a_fast_script_waits_for_a_slow_reader(script: Script) -> None:
    execution = script.start("for i = 1, 30000 do print(i) end")
    events = execution.events()
    next(events)
    most = 0
    for number, _ in enumerate(events):
        if number % 100 == 0:
            most = max(most, execution._queue.qsize())
    assert number == 29_998
    assert most < 11_000


# Host calls


def test_an_error_of_the_host_is_a_string_for_the_script(script: Script) -> None:
    assert script("local ok, e = pcall(Test.fail, 'no model') return type(e), e:find('model')") == [
        "string",
        4,
        8,
    ]


@pytest.mark.parametrize(
    "source", ["\nTest.fail('no model')", "\nlocal ok, e = pcall(Test.fail, 'no model') error(e)"]
)
def test_an_uncaught_error_of_the_host_keeps_type_hint_and_data(
    script: Script, source: str
) -> None:
    with pytest.raises(ProviderError, match="no model") as caught:
        script(source)
    assert caught.value.hint == "Try something else."
    assert caught.value.data["provider"] == "none"
    assert (caught.value.data["chunk"], caught.value.data["line"]) == ("cell[1]", 2)


def test_a_mistake_in_the_host_is_logged(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ScriptError, match="ZeroDivisionError: a mistake in the host") as caught:
        script("Test.bug()")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "a call from a script failed" in caplog.text


def test_host_calls_run_in_the_context_of_the_caller(script: Script) -> None:
    def run() -> object:
        WHO.set("cell 9")
        return script("return Test.who()")

    assert contextvars.copy_context().run(run) == "cell 9"
    assert script("return Test.who()") == "nobody"


def test_callbacks_give_and_take_values(script: Script) -> None:
    assert script("return Test.each(3, function(i) return i * 2 end)") == [2, 4, 6]
    assert script("return Test.each(2, function(i) return i, {i} end)") == [[1, [1]], [2, [2]]]
    assert script("return #Test.each(2, function() end)") == 0
    assert script("return Test.agent('a'):each(1, function(i) return i end)") == [1]
    nested = (
        "return Test.each(2, function(i) return Test.each(i, function(j) return i * j end) end)"
    )
    assert script(nested) == [[1], [2, 4]]


def test_an_error_in_a_callback_reaches_host_and_script(script: Script) -> None:
    assert script("return pcall(Test.each, 3, function() error('no', 0) end)") == [False, "no"]
    assert script(
        "local t = {} local ok, e = pcall(Test.each, 3, function() error(t) end) return e == t"
    )
    assert script.host.closed == 2
    ok, message = script(
        "return pcall(Test.each, 1, function() return coroutine.create(print) end)"
    )
    assert (ok, message) == (False, "a value of type thread cannot leave the script")


def test_a_callback_can_stream_through_a_coroutine(script: Script) -> None:
    source = """
    local out = {}
    for i in coroutine.wrap(function() Test.each(3, coroutine.yield) end) do out[#out + 1] = i end
    return out
    """
    assert script(source) == [1, 2, 3]
    assert script.host.closed == 1


def test_a_coroutine_goes_on_in_a_later_script(script: Script) -> None:
    script("next_one = coroutine.wrap(function() return Test.each(2, coroutine.yield) end)")
    assert [script("return next_one()") for _ in range(2)] == [1, 2]
    assert script("return next_one('a')") == {2: "a"} or script.host.closed == 1


def test_abandoned_calls_are_closed(script: Script) -> None:
    script("for _ = 1, 100 do coroutine.wrap(function() Test.each(2, coroutine.yield) end)() end")
    script("return 1")
    assert script.host.closed == 100
    assert script.session._machine is not None
    assert script.session._machine.waiting == 0


def test_a_call_waiting_for_its_callback_is_closed_by_a_stop(script: Script) -> None:
    with pytest.raises(ScriptTimeout):
        script("Test.each(2, function() while true do end end)", timeout=0.1)
    assert script.host.closed == 1
    with pytest.raises(ScriptError, match="status 3"):
        script("Test.each(2, function() os.exit(3) end)")
    assert script.host.closed == 2


# Stopping


def test_a_stop_cancels_a_waiting_host_call(script: Script) -> None:
    execution = script.start("while true do pcall(Test.wait) end")
    assert script.host.entered.wait(10)
    stopped = time.monotonic()
    execution.stop("Stopped by the user")
    with pytest.raises(Interrupted, match="Stopped by the user") as caught:
        execution.result(10)
    assert time.monotonic() - stopped < 1
    assert caught.value.data["line"] == 1
    assert script("return 1") == 1


def test_the_limit_cancels_a_waiting_host_call(script: Script) -> None:
    started = time.monotonic()
    with pytest.raises(ScriptTimeout):
        script("Test.wait()", timeout=0.2)
    assert 0.15 < time.monotonic() - started < 1.2


def test_interrupting_the_reader_leaves_the_script_to_be_stopped(script: Script) -> None:
    execution = script.start("print('first') while true do end")
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
    seen = []
    with pytest.raises(KeyboardInterrupt):
        for event in execution.events():
            seen.append(event)
            timer.start()
    assert seen == [Printed("first\n")]
    execution.stop("Ctrl-C")
    assert list(execution.events()) == []
    with pytest.raises(Interrupted, match="Ctrl-C"):
        execution.result(10)
    assert script("return 'next'") == "next"


def test_a_stop_before_the_first_instruction_and_after_the_last(script: Script) -> None:
    execution = script.start("while true do end")
    execution.stop("early")
    with pytest.raises(Interrupted, match="early"):
        execution.result(10)
    execution = script.start("return 1")
    assert execution.result(10) == 1
    execution.stop("late")
    assert execution.result(10) == 1


def test_who_breaks_off_following_ends_the_script(script: Script) -> None:
    execution = script.start("while true do end")
    execution.end("enough")
    assert execution.done
    assert script("return 'next'") == "next"
    with pytest.raises(Interrupted, match="enough"):
        execution.result(10)
    execution = script.start("return 1")
    assert execution.result(10) == 1
    execution.end("late")
    assert execution.result(10) == 1


def test_ctrl_c_at_any_moment_of_a_start_leaves_nothing_running(script: Script) -> None:
    """Nobody has the execution then, so nobody else could stop it."""
    moment = 0
    while interrupted(lambda: script.start("while true do end"), moment):
        assert script(f"return {moment}") == moment
        moment += 1
    assert moment > 10
    assert not script.session.lost


def test_a_host_call_that_never_ends_loses_the_session(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lua, "HOST_GRACE", 0.3)
    execution = script.start("Test.patient()")
    assert script.host.entered.wait(10)
    execution.stop("enough")
    with pytest.raises(Interrupted, match=r"enough\. It did not stop, because"):
        execution.result(10)
    assert script.session.lost
    with pytest.raises(RequestError, match="is lost"):
        script.start("return 1")
    script.host.release.set()
    script.session._thread.join(10)
    assert not script.session._thread.is_alive()


def test_a_stuck_library_call_does_not_hang_the_process() -> None:
    """L6: the abandoned call still runs when the program ends."""
    code = """
script = Script(TestHost())
started = time.monotonic()
execution = script.start("return string.find(('a'):rep(60), ('a?'):rep(60) .. ('a'):rep(60))",
    "cell[2]", timeout=0.3)
assert list(execution.events()) == []
try:
    execution.result()
except Exception as error:
    print(type(error).__name__, error.chunk, error.data["lost"], script.session.lost)
assert time.monotonic() - started < 3
script.session.close()
print(Script(TestHost())("return 1"))
"""
    assert in_subprocess(code).splitlines() == ["ScriptTimeout cell[2] True True", "1"]


def test_closing_stops_what_runs_and_ends_the_thread(make_script: Callable[..., Script]) -> None:
    script = make_script()
    script("keep = coroutine.wrap(function() Test.each(2, coroutine.yield) end) keep()")
    execution = script.start("while true do end")
    script.session.close()
    with pytest.raises(Interrupted, match="was closed"):
        execution.result(10)
    assert not script.session._thread.is_alive()
    assert script.host.closed == 1
    with pytest.raises(RequestError, match="is closed"):
        script.start("return 1")


def test_a_session_that_cannot_start_says_so() -> None:
    with pytest.raises(TypeError):
        LuaSession({"Test": 5}, {}, TestHost())  # type: ignore[dict-item]


# L9: leaks


class Footprint:
    """Memory, threads and file descriptors of this process, compared with a later moment."""

    def __init__(self) -> None:
        gc.collect()
        self.process = psutil.Process()
        self.rss, *self.handles = self.measure()

    def measure(self) -> list[int]:
        process = self.process
        return [process.memory_info().rss, process.num_threads(), process.num_fds()]

    def check(self) -> None:
        gc.collect()
        until = time.monotonic() + 5  # the system counts a thread a little longer than Python
        while self.measure()[1:] != self.handles and time.monotonic() < until:
            pass
        rss, *handles = self.measure()
        assert handles == self.handles
        assert rss - self.rss < 20 << 20


def test_many_scripts_leave_nothing_behind(script: Script) -> None:
    source = """
    local a = Test.agent("a")
    a:greet(function() end)
    coroutine.wrap(function() Test.each(2, coroutine.yield) end)()
    pcall(error, {})
    print(Test.echo({1, 2, x = {}}))
    """
    for _ in range(200):
        script(source)
    footprint = Footprint()
    for _ in range(2000):
        script(source)
    script("return 1")
    footprint.check()
    machine = script.session._machine
    assert machine is not None
    assert (machine.waiting, machine.border.objects, script.host.closed) == (0, 0, 2200)


def test_many_sessions_leave_nothing_behind() -> None:
    def use(count: int) -> None:
        for _ in range(count):
            with LuaSession(GLOBALS, CLASSES, TestHost(), max_memory_bytes=64 << 20) as session:
                assert session.start("x = ('x'):rep(1 << 20) return #x", "c").result(10) == 1 << 20

    use(10)
    footprint = Footprint()
    use(200)
    footprint.check()


# Crashes


def test_callbacks_that_yield_raise_and_are_dropped_do_not_crash() -> None:
    """Decision 2: entered from Python instead, this corrupts the heap within a few rounds."""
    code = '''
script = Script(TestHost(), 64 << 20)
script("""
for round = 1, 2000 do
  local co = coroutine.create(function()
    return Test.each(4, function(i)
      coroutine.yield(i)
      return Test.each(2, function(j)
        if round % 3 == 0 and j == 2 then error("no") end
        return coroutine.yield(j)
      end)
    end)
  end)
  for step = 1, round % 12 do coroutine.resume(co) end
  if round % 5 == 0 then coroutine.close(co) end
  if round % 50 == 0 then collectgarbage() end
end
""")
script("return 1")
print(script.session._machine.waiting, script.host.closed > 2000)
'''
    assert in_subprocess(code) == "0 True"


def test_host_calls_at_the_edge_of_memory_do_not_crash() -> None:
    """Lupa dies when a string from Python does not fit, so the host never hands one over."""
    code = '''
script = Script(TestHost(), 4 << 20)
fill = """
local t, failed = {}, 0
for i = 1, 100000 do
  local ok, e = pcall(function() t[#t + 1] = %s end)
  if not ok and e ~= "not enough memory" then error(e) end
  failed = failed + (ok and 0 or 1)
  if failed == 30 then break end
end
t = nil
return failed
"""
calls = ["agent('a')", "each(1, function(i) return ('x'):rep(1000) .. #t end)"]
calls += [f"text(math.random({size}))" for size in (100, 3000, 30_000, 300_000, 3_000_000)]
for call in calls:
    for _ in range(3):
        assert script(fill % f"Test.{call}") == 30
machine = script.session._machine
# An object whose handle did not fit any more stays until the session ends.
print(script("return Test.echo({1})"), machine.border.objects < 20, machine.waiting)
'''
    assert in_subprocess(code) == "[[1]] True 0"


def test_the_lua_thread_is_a_daemon() -> None:
    code = "Script(TestHost()).start('while true do end')\nprint('end')"
    assert in_subprocess(code) == "end"
