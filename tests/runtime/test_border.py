import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lua_host import Agent, Script

from llmspell_jupyter.errors import ScriptError
from llmspell_jupyter.runtime.border import MAX_DEPTH, Border, BorderError, Callback

PLAIN = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
# A float key with a whole value is the integer in Lua, and a table cannot hold nil.
KEYS = st.text(max_size=8) | st.integers(-5, 5)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)
HYPOTHESIS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def in_lua(value: Any) -> Any:
    """What Python gets back after a value has been a Lua value."""
    if isinstance(value, list):
        return [in_lua(item) for item in value] or {}
    if isinstance(value, dict):
        items = {key: in_lua(item) for key, item in value.items()}
        if items and set(items) == set(range(1, len(items) + 1)):
            return [items[place] for place in range(1, len(items) + 1)]
        return items
    return value


def same(left: Any, right: Any) -> bool:
    """Equal in value and in type, all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


@HYPOTHESIS
@given(value=VALUES)
@example(value={1: "a", 3: "c"})
@example(value={1: "a", "1": "b"})
@example(value=[[], [[]], {}])
@example(value=-(2**63))
def test_values_survive_a_round_trip_through_lua(script: Script, value: Any) -> None:
    script.host.kept = value
    assert same(script("return Test.kept()"), in_lua(value))
    assert same(script("v = Test.kept() return Test.same(v)"), in_lua(value))


@HYPOTHESIS
@given(data=st.binary(max_size=200))
def test_any_bytes_survive_as_text(script: Script, data: bytes) -> None:
    script.host.kept = data
    text = script("return Test.kept()")
    assert text == data.decode("utf-8", "surrogateescape")
    script.host.kept = text
    assert script(f"return Test.kept() == '{''.join(f'{chr(92)}{b:03}' for b in data)}'") is True


@HYPOTHESIS
@given(data=st.binary(max_size=60))
@example(data=b"\x04call\0\0\0\0l\xff\xff\xff\xff")
@example(data=b"\x04call\xff\xff\xff\xff")
@example(data=b"\x04call\0\0\0\0" + b"l\1\0\0\0" * 5000)
@example(data=b"\x04call\0\0\0\0l\1\0\0\0s\xff\xff\xff\x7f")
@example(data=b"\x04call\0\0\0\0l\1\0\0\0o\1\0\0\0\0\0\0\0")
@example(data=b"\x04call\0\0\0\0l\1\0\0\0m\1\0\0\0m\0\0\0\0n")
def test_garbage_is_refused_without_believing_its_lengths(data: bytes) -> None:
    for message in (data, b"\x01x\0\0\0\0l\x02\0\0\0" + data):
        try:
            Border().decode(message)
        except BorderError:
            continue


@pytest.mark.parametrize(
    ("value", "lua"),
    [
        (None, "nil"),
        (math.inf, "math.huge"),
        (-math.inf, "-math.huge"),
        (2**63, "2^63"),
        (-(10**400), "-math.huge"),
        (1.0, "1.0"),
        ((1, 2), "nil"),
        (b"\xff", "'\\xff'"),
    ],
)
def test_edges_of_numbers_and_strings(script: Script, value: Any, lua: str) -> None:
    script.host.kept = value
    got = "v = Test.kept() return "
    if isinstance(value, tuple):
        assert script(got + "#v == 2 and v[1] == 1 and v[2] == 2")
    else:
        assert script(got + f"v == {lua} and math.type(v) == math.type({lua})")


def test_nan_crosses_both_ways(script: Script) -> None:
    script.host.kept = math.nan
    assert script("local v = Test.kept() return v ~= v") is True
    assert math.isnan(script("return 0/0"))


def test_none_leaves_a_hole_and_keeps_what_follows(script: Script) -> None:
    script.host.kept = [1, None, 3, {"gone": None, "here": 1}]
    assert script(
        "local v = Test.kept() return v[1], v[2], v[3], v[4].here, next(v[4], 'here')"
    ) == [1, None, 3, 1, None]


def test_tables_become_lists_only_if_nothing_is_lost(script: Script) -> None:
    source = "return {1,2}, {}, {1,2,x=3}, {1,nil,3}, {[2]=1}, {[1.5]=1, [true]=2, [print]=3}"
    assert script(source) == [[1, 2], {}, {1: 1, 2: 2, "x": 3}, {1: 1, 3: 3}, {2: 1}, {1.5: 1}]


def test_arguments_keep_their_nils(script: Script) -> None:
    assert script("return Test.echo(nil, 1, nil)[2], select('#', Test.echo(nil))") == [1, 1]
    script("Test.post(nil)")


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, 1j, {("a",): 1}, {math.nan: 1}, [object()], Callback(1, None)]
)
def test_other_types_are_refused_by_name(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot cross into Lua"):
        Border().encode("return", [value])


def test_a_host_that_returns_something_odd_fails_as_a_string(script: Script) -> None:
    ok, message = script("return pcall(Test.odd)")
    assert not ok
    assert message == "Internal error: TypeError: a value of type object cannot cross into Lua"


def test_depth_and_cycles_are_refused_on_both_sides(script: Script) -> None:
    nest = "local t = {{}} for _ = 1, {} do t = {{t}} end return Test.echo(t)"
    script(nest.format(MAX_DEPTH - 2))
    with pytest.raises(
        ScriptError, match=r"nested deeper than 100 levels.* cannot leave the script"
    ):
        script(nest.format(MAX_DEPTH))
    loop: list[Any] = []
    loop.append(loop)
    script.host.kept = loop
    with pytest.raises(ScriptError, match="inside itself, cannot reach the script"):
        script("return Test.kept()")
    with pytest.raises(ScriptError, match="thread cannot leave"):
        script("return Test.echo(coroutine.create(print))")


def test_functions_come_back_as_the_same_function(script: Script) -> None:
    assert script("f = function() end Test.keep(f) return Test.kept() == f") is True
    assert repr(script("return f")) == "function"


def test_a_function_of_another_session_is_refused(
    script: Script, make_script: Callable[..., Script]
) -> None:
    other = make_script()
    other("Test.keep(print)")
    script.host.kept = other.host.kept
    with pytest.raises(ScriptError, match="type Callback cannot cross"):
        script("return Test.kept()")


def test_host_objects_are_tables_with_methods(script: Script) -> None:
    assert script("a = Test.agent('ann') return type(a), a.name, a.size, a.nothing") == [
        "table",
        "ann",
        3,
        None,
    ]
    assert script("return a:greet(1), a.greet(2), a.greet(), type(a.greet)") == [
        "ann:[1]",
        "ann:[2]",
        "ann:[]",
        "function",
    ]
    assert script("local keys = {} for k in pairs(a) do keys[#keys+1] = k end return #keys") == 2


def test_an_object_keeps_its_identity_while_it_is_held(script: Script) -> None:
    assert script("a = Test.agent('ann') a.mine = 1 return a:rename('bob') == a") is True
    assert script("return a.name, a.mine, Test.same({x = a}).x == a") == ["bob", 1, True]
    assert isinstance(script("return a"), Agent)


def test_objects_end_when_the_script_lets_them_go(script: Script) -> None:
    objects = script.session._machine.border  # type: ignore[union-attr]
    script("keep = Test.agent('a') for i = 1, 50 do Test.same(Test.agent('b')) end")
    script("return 1")
    assert objects.objects == 1
    script("keep = nil")
    script("return 1")
    assert objects.objects == 0


def test_functions_end_when_python_lets_them_go(script: Script) -> None:
    script(
        "alive = setmetatable({}, {__mode = 'k'})"
        "local f = function() return alive end alive[f] = 1 Test.keep(f)"
    )
    count = "local n = 0 for _ in pairs(alive) do n = n + 1 end return n"
    script("return 1")
    assert script(count) == 1
    script.host.kept = None
    script("Test.echo()")
    assert script(count) == 0
