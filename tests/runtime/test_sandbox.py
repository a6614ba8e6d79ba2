import random
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lua_host import Script

from llmspell_jupyter.errors import (
    Forbidden,
    Interrupted,
    LLMSpellError,
    ScriptError,
    ScriptMemory,
    ScriptTimeout,
)

HERE = Path(__file__).parent


def cases(file: str) -> list[Any]:
    """The Lua sources of a file, which are divided by ``--== name`` lines."""
    parts = re.split(r"^--== (.*)\n", (HERE / file).read_text(), flags=re.MULTILINE)
    return [
        pytest.param(body, id=name) for name, body in zip(parts[1::2], parts[2::2], strict=True)
    ]


ESCAPES = cases("escapes.lua")
LOOPS = cases("loops.lua")


# L1: only plain values are in reach


WALK = """
local seen, found = {}, {}
local function walk(value, path, depth)
  if type(value) == "userdata" then found[#found + 1] = path end
  if depth == 0 or seen[value] then return end
  if type(value) == "table" then
    seen[value] = true
    for key, item in next, value do
      walk(key, path .. ".key", depth - 1)
      walk(item, path .. "." .. tostring(key), depth - 1)
    end
    walk(getmetatable(value), path .. ".meta", depth - 1)
  elseif type(value) == "function" and not tostring(path):find("exit") then
    seen[value] = true
    for _, arguments in ipairs({ {}, { {} }, { "x" }, { 1 }, { print } }) do
      local results = table.pack(pcall(value, table.unpack(arguments)))
      for i = 2, results.n do walk(results[i], path .. "()", depth - 1) end
    end
  end
end
local env = {}
for key, item in next, _G do env[key] = item end
env.print, env.collectgarbage, env.coroutine, env._G = nil, nil, nil, nil
env.Test = {}
for key, item in next, Test do
  if key ~= "wait" and key ~= "patient" then env.Test[key] = item end
end
walk(env, "_G", 6)
walk({ Test.agent("a"), getmetatable(""), coroutine, { pcall(Test.bug) } }, "extra", 6)
return found
"""


def test_no_userdata_is_in_reach(script: Script) -> None:
    assert script(WALK) == {}


# L2: ways out


def test_the_corpus_has_sixty_cases() -> None:
    assert len(ESCAPES) >= 60


@pytest.mark.parametrize("source", ESCAPES)
def test_no_way_out(
    script: Script, source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    marker = tmp_path / "marker"
    started, computed = time.perf_counter(), time.process_time()
    execution = script.start(source, "cell[7]", variables={"MARKER": str(marker)})
    try:
        result = execution.result(10)
        error = None
    except LLMSpellError as raised:
        result, error = None, raised
    # A refusal is quick; on a busy machine only the time that it computes tells.
    assert time.process_time() - computed < 0.1
    assert time.perf_counter() - started < 1
    assert result in (None, False, {})
    assert not marker.exists()
    if "[forbidden]" in request.node.callspec.id:
        assert isinstance(error, Forbidden)
        assert error.chunk == "cell[7]"
        assert error.line is not None
        assert 1 <= error.line <= len(source.splitlines())
    assert script("return 1 + 1") == 2


# L3: files, processes, environment, network

FORBIDDEN_CALLS = [
    "os.execute()",
    "os.execute('touch {marker}')",
    "os.execute('exec 3<>/dev/tcp/127.0.0.1/{port}')",
    "os.remove('{victim}')",
    "os.rename('{victim}', '{marker}')",
    "os.tmpname()",
    "os.getenv('SECRET_TOKEN')",
    "os.getenv('HOME')",
    "os.setlocale('C')",
    "io.open('{victim}')",
    "io.open('{marker}', 'w')",
    "io.open('/proc/self/environ', 'rb')",
    "io.popen('env')",
    "io.popen('touch {marker}')",
    "io.popen('curl http://127.0.0.1:{port}')",
    "io.lines('{victim}')",
    "io.lines('/proc/self/environ')",
    "io.input('{victim}')",
    "io.input():read('a')",
    "io.output('{marker}')",
    "io.output():write('x')",
    "io.tmpfile()",
    "io.close()",
    "io.read('a')",
    "io.stdout:write(io.stderr)",
    "io.stderr:write('x')",
    "require('socket')",
    "require('io').open('{marker}', 'w')",
    "require('debug').getregistry()",
    "dofile('{victim}')",
    "dofile()",
    "loadfile('{victim}')",
    "loadfile('{victim}', 't', {{}})()",
    "package.loadlib('libc.so.6', '*')",
    "package.loadlib('libc.so.6', 'system')",
    "package.searchpath('os', './?.lua')",
    "package.searchers[2]('os')",
    "package.loaded.io.open('{marker}', 'w')",
    "package.preload.os()",
    "assert(load(string.dump(print), 'x', 'b'))()",
    "assert(load('\\27Lua', 'x', 'b'))()",
    "debug.getregistry()",
    "python.eval('1')",
]


@pytest.fixture
def trap() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.mark.parametrize("call", FORBIDDEN_CALLS)
def test_forbidden_calls_do_nothing(
    script: Script,
    call: str,
    tmp_path: Path,
    trap: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "canary-5917")
    victim = tmp_path / "victim"
    victim.write_text("canary-5917")
    names = {"marker": tmp_path / "marker", "victim": victim, "port": trap.getsockname()[1]}
    source = "print(pcall(function() return " + call.format(**names) + " end))"
    text = script.printed(source)
    assert text.startswith("false\t")
    with pytest.raises(ScriptError) as caught:
        script(call.format(**names), expression=True)
    assert "canary" not in text + str(caught.value.to_wire()) + "".join(capfd.readouterr())
    assert list(tmp_path.iterdir()) == [victim]
    with pytest.raises(BlockingIOError):
        trap.accept()


def test_forbidden_says_what_and_where(script: Script) -> None:
    with pytest.raises(Forbidden, match=r"^io\.open is not handed out by the sandbox") as caught:
        script("local x = 1\nreturn io.open('x')", "cell[4]")
    assert (caught.value.chunk, caught.value.line) == ("cell[4]", 2)
    assert isinstance(caught.value, PermissionError)


# L4: loops


def test_there_are_twelve_loops() -> None:
    assert len(LOOPS) >= 12


@pytest.mark.parametrize("source", LOOPS)
def test_an_endless_script_stops_at_its_limit(
    make_script: Callable[..., Script], source: str
) -> None:
    script = make_script(256 << 20)
    started = time.monotonic()
    execution = script.start(source, timeout=0.5)
    for _ in execution.events():
        pass
    with pytest.raises(ScriptTimeout, match=r"longer than its limit of 0\.5 s") as caught:
        execution.result(10)
    assert 0.45 < time.monotonic() - started < 1.5
    assert caught.value.chunk == "cell[1]"
    assert caught.value.line is not None
    assert not script.session.lost
    assert script("return 1 + 1") == 2


def test_the_limit_of_two_seconds_holds(script: Script) -> None:
    started = time.monotonic()
    with pytest.raises(ScriptTimeout):
        script("while true do pcall(error) end", timeout=2)
    assert 1.9 < time.monotonic() - started < 2.5


# L5: stops at any moment


@pytest.mark.parametrize("source", LOOPS)
def test_a_stop_at_any_moment_ends_the_script(
    make_script: Callable[..., Script], source: str
) -> None:
    script, moments = make_script(256 << 20), random.Random(5)
    for _ in range(20):
        execution = script.start(source)
        with pytest.raises(TimeoutError, match="still runs"):
            execution.result(moments.uniform(0, 0.03))
        stopped = time.monotonic()
        execution.stop("enough")
        with pytest.raises(Interrupted, match="enough"):
            execution.result(10)
        assert time.monotonic() - stopped < 1
        assert script("return 1 + 1") == 2
    assert not script.session.lost


# L7: memory


@pytest.mark.parametrize(
    "source",
    [
        "local t = {} while true do t[#t + 1] = {} end",
        "T = {} while true do T[#T + 1] = {1, 2, 3} end",
        "return #string.rep('x', 1 << 30)",
        "local s = 'x' while true do s = s .. s end",
        "return Test.text(1 << 28)",
        "local t = {} for i = 1, 1e9 do t[i] = Test.text(100000) .. i end",
        "local t = {} for i = 1, 1e9 do t[i] = coroutine.create(print) end",
    ],
)
def test_memory_has_a_limit(script: Script, source: str) -> None:
    with pytest.raises(ScriptMemory, match="its limit of 64 MiB"):
        script(source)
    script("T = nil")
    assert script("return #('x'):rep(1 << 20)") == 1 << 20


def test_memory_can_be_used_up_to_the_limit(script: Script) -> None:
    size = script(
        "S = '' pcall(function() for i = 1, 1e6 do S = S .. ('x'):rep(1 << 20) end end) return #S"
    )
    # Each step needs the old string and the new one at a time.
    assert 25 << 20 < size < 36 << 20


def test_a_full_session_can_be_cleaned_by_a_script(script: Script) -> None:
    with pytest.raises(ScriptMemory):
        script("T = {} for i = 1, 1e9 do T[i] = ('x'):rep(100) .. i end")
    with pytest.raises(ScriptMemory):
        script("return Test.text(8 << 20)")
    assert script("T = nil return 'clean'") == "clean"
    assert len(script("return Test.text(8 << 20)")) == 8 << 20


# L8: nothing spreads


POISON = """
for name, library in pairs(_G) do
  if type(library) == "table" and library ~= _G then
    for key in next, library do library[key] = function() error("poisoned") end end
  end
end
for _, name in next, {"pairs", "next", "type", "error", "pcall", "tostring", "select", "print",
  "rawget", "setmetatable", "load", "assert"} do
  _G[name] = function() return "poisoned" end
end
"""


def test_poison_reaches_neither_the_prelude_nor_another_session(
    script: Script, make_script: Callable[..., Script]
) -> None:
    other = make_script()
    script("echo, agent, out = Test.echo, Test.agent, print")
    script(POISON)
    assert script("return type(1), echo({1, 2}, 'x'), agent('ann'):greet(1)") == [
        "poisoned",
        [[1, 2], "x"],
        "ann:[1]",
    ]
    assert script.printed("out(3.0, {}, 'x')") == "3\ttable\tx\n"
    with pytest.raises(ScriptTimeout):
        script("while true do end", timeout=0.1)
    assert other("return type(1), ('x'):upper(), #Test.echo(1)") == ["number", "X", 1]


# What a script sees


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("print(3.0, 3.5, -0.0, 2^53, 10 // 1)", "3\t3.5\t0\t9007199254740992\t10\n"),
        ("print(nil, true, 1/0)", "nil\ttrue\tinf\n"),
        ("print({}, print, coroutine.create(print))", "table\tfunction\tthread\n"),
        ("print(setmetatable({}, {__tostring = error}))", "table\n"),
        ("print()", "\n"),
        ("print('a', nil)", "a\tnil\n"),
        ("print('\\u{1F600} \\xff')", "\U0001f600 \udcff\n"),
        ("io.write('a', 1, 2.5, 3.0):write('b')", "a12.53b"),
    ],
)
def test_print_and_write(script: Script, source: str, text: str) -> None:
    assert script.printed(source) == text


def test_write_takes_strings_and_numbers_only(script: Script) -> None:
    with pytest.raises(ScriptError, match=r"bad argument #2 to 'write' \(string expected, got nil"):
        script("io.write('a', nil)")


def test_standard_libraries_work(script: Script) -> None:
    source = """
    local t = setmetatable({}, { __index = function(_, k) return k .. "!" end })
    local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end)
    return ("%d-%s"):format(3, "x"), t.a, co(1), co(5), #table.pack(1, 2), math.type(1),
      utf8.char(233), type(os.time()), type(os.date()), type(collectgarbage("count")),
      load("return ...", "x")(7), load("return y", "x", "t", { y = 8 })(), _VERSION
    """
    expected = ["3-x", "a!", 2, 10, 2, "integer", "é", "number", "string", "number", 7, 8]
    assert script(source) == [*expected, "Lua 5.4"]


def test_xpcall_gives_the_handler_the_error_and_its_result_back(script: Script) -> None:
    assert script("return xpcall(function(a) return a, 2 end, print, 1)") == [True, 1, 2]
    assert script("return xpcall(error, function(e) return e .. '!', 2 end, 'a')") == [
        False,
        "a!",
        2,
    ]
    assert script("return xpcall(error, error, 'a')") == [False, "a"]


def test_coroutines_report_errors_and_close(script: Script) -> None:
    source = """
    local closed
    local co = coroutine.wrap(function()
      local guard <close> = setmetatable({}, { __close = function() closed = true end })
      error({ code = 7 })
    end)
    local ok, problem = pcall(co)
    return ok, problem.code, closed, (pcall(co))
    """
    assert script(source) == [False, 7, True, False]
    assert script("return coroutine.isyieldable(), select(2, coroutine.running())") == [
        False,
        True,
    ]


def test_globals_live_on_and_locals_do_not(script: Script) -> None:
    script("g = 1 local l = 1")
    assert script("return g, l") == [1, None]


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("local x\n\nreturn x.y", 3, "attempt to index a nil value (local 'x')"),
        ("x = = 1", 1, "unexpected symbol near '='"),
        ("\nerror('boom')", 2, "boom"),
        ("\nerror('boom', 0)", 2, "boom"),
        ("error({})", 1, "(error object is a table value)"),
        ("\nerror(setmetatable({}, {__tostring = function() return 'hi' end}))", 2, "hi"),
        ("error()", 1, "(error object is a nil value)"),
        ("local function f()\n  error('deep')\nend\nf()", 2, "deep"),
        ("coroutine.wrap(function()\n  error('inside')\nend)()", 2, "inside"),
        ("\nTest.each(2, function()\n  error('in a callback')\nend)", 3, "in a callback"),
    ],
)
def test_errors_name_chunk_and_line(script: Script, source: str, line: int, message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        script(source, "cell[3]")
    assert (caught.value.chunk, caught.value.line) == ("cell[3]", line)
    assert caught.value.message == message


def test_recursion_without_end_is_an_error(make_script: Callable[..., Script]) -> None:
    with pytest.raises(ScriptError, match="stack overflow") as caught:
        make_script()("\nlocal function f() return f() + 1 end f()")
    assert caught.value.line == 2


def test_an_error_in_a_function_of_an_earlier_cell_names_that_cell(script: Script) -> None:
    script("\nfunction f() error('x') end", "cell[1]")
    with pytest.raises(ScriptError) as caught:
        script("\n\nf()", "cell[2]")
    assert (caught.value.message, caught.value.chunk, caught.value.line) == ("x", "cell[1]", 2)
    assert caught.value.data["traceback"] == (
        "cell[1]:2: in function 'f'\ncell[2]:3: in main chunk"
    )


def test_exit_ends_only_the_script(script: Script) -> None:
    execution = script.start("pcall(os.exit) print('never')")
    assert list(execution.events()) == []
    assert (execution.result(10), execution.exit_status) == (None, 0)
    execution = script.start("\nxpcall(coroutine.wrap(function() os.exit(false) end), print)")
    with pytest.raises(ScriptError, match="ended with status 1") as caught:
        execution.result(10)
    assert (execution.exit_status, caught.value.line) == (1, 2)
    execution = script.start("coroutine.resume(coroutine.create(os.exit), 4) print('never')")
    assert list(execution.events()) == []
    assert execution.exit_status == 4
    assert script("return 'alive'") == "alive"
