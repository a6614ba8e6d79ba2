"""What host calls hold for a script while a callback of theirs runs, or for a later script."""

from __future__ import annotations

import threading

import pytest
from lua_host import Script

from llmspell_jupyter.errors import Interrupted, ScriptTimeout
from llmspell_jupyter.runtime import lua

HELD = "held = coroutine.wrap(function() return Test.hold(false, coroutine.yield) end) held()"


def test_a_held_call_is_closed_in_its_own_time(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host is busy with it: a script that has stopped is not given up."""
    monkeypatch.setattr(lua, "LUA_GRACE", 0.1)
    source = "kept = 'yes' Test.hold(true, function() Test.post('in') while true do end end)"
    execution = script.start(source)
    assert next(execution.events()) == ("posted", "in")
    execution.stop("enough")
    assert script.host.entered.wait(10)
    with pytest.raises(TimeoutError):
        execution.result(0.5)
    script.host.release.set()
    with pytest.raises(Interrupted, match=r"^enough$"):
        execution.result(10)
    assert not script.session.lost and not script.host.lost.is_set()
    assert script("return kept") == "yes"


def test_a_stop_leaves_what_a_later_script_goes_on_with(script: Script) -> None:
    script(HELD)
    with pytest.raises(ScriptTimeout):
        script("while true do end", timeout=0.1)
    assert script.host.closed == 0 and not script.host.lost.is_set()
    assert script("return held('more')") is None
    assert script.host.closed == 1


def test_what_a_lost_session_holds_is_ended(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lua, "HOST_GRACE", 0.1)
    script(HELD)
    execution = script.start("Test.patient()")
    assert script.host.entered.wait(10)
    assert not script.host.lost.is_set()
    execution.stop("enough")
    with pytest.raises(Interrupted, match=r"its Lua state was abandoned"):
        execution.result(10)
    assert script.host.lost.is_set() and script.session.lost


def test_what_is_held_in_a_lost_session_is_ended_at_once(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lua, "HOST_GRACE", 0.1)
    execution = script.start("Test.patient()")
    assert script.host.entered.wait(10)
    execution.stop("enough")
    with pytest.raises(Interrupted):
        execution.result(10)
    ended = threading.Event()
    with script.session.on_loss(ended.set):
        assert ended.is_set()


def test_an_event_that_nobody_reads_is_refused(script: Script) -> None:
    assert not script.session.post("before the first script")
    execution = script.start("Test.wait()")
    assert script.host.entered.wait(10)
    assert script.session.post("meanwhile")
    script.host.release.set()
    assert list(execution.events()) == ["meanwhile"]
    assert not script.session.post("after the last one")
