"""Jobs on threads: who joins, who waits, who is told what."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

import pytest

from llmspell_jupyter.engine.pull_job import PullJob, Report, Work
from llmspell_jupyter.engine.pulls import Pulls
from llmspell_jupyter.errors import (
    EngineError,
    EngineUnavailable,
    Gated,
    Interrupted,
    LLMSpellError,
    RequestError,
)
from llmspell_jupyter.types import PullPhase, PullProgress
from tests.support.engines import PATIENCE

SECRET = "hf_abcdefghijklmnop"


def step(done: int, phase: PullPhase = PullPhase.DOWNLOADING) -> PullProgress:
    return PullProgress("m:Q4_K_M", phase, done, 100)


def at_once(report: Report, stop: threading.Event) -> PullProgress:
    return step(100, PullPhase.COMPLETE)


class Gate:
    """Work that reports once and then waits to be let through or stopped."""

    def __init__(self) -> None:
        self.through = threading.Event()
        self.begun = threading.Event()
        self.runs = 0

    def __call__(self, report: Report, stop: threading.Event) -> PullProgress:
        self.runs += 1
        report(step(10))
        self.begun.set()
        while not self.through.wait(0.01):
            if stop.is_set():
                raise Interrupted("stopped")
        return step(100, PullPhase.COMPLETE)


def run(test: Callable[[Pulls], Awaitable[None]], pulls: Pulls | None = None) -> None:
    async def whole() -> None:
        made = pulls or Pulls()
        try:
            await test(made)
        finally:
            await made.close()

    asyncio.run(asyncio.wait_for(whole(), PATIENCE))


def start(pulls: Pulls, work: Work, key: str = "k", secret: str | None = None) -> PullJob:
    return pulls.start("pull", key, "m", "test", work, secret=secret)


async def steps(job: PullJob) -> list[PullProgress]:
    return [each async for each in job.watch()]


async def until(job: PullJob, look: Callable[[PullProgress], bool]) -> PullProgress:
    async with aclosing(job.watch()) as told:
        async for each in told:
            if look(each):
                return each
    raise AssertionError(job.progress)


async def begun(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.begun.wait, PATIENCE)


def test_a_second_start_joins_the_first_and_sees_the_same() -> None:
    async def test(pulls: Pulls) -> None:
        gate = Gate()
        first = start(pulls, gate)
        viewers = [asyncio.create_task(steps(first)) for _ in range(10)]
        await until(first, lambda each: each.done == 10)
        # Late, and told at once where it stands.
        joined = start(pulls, gate)
        assert joined is first
        async for each in joined.watch():
            assert (each.done, each.job) == (10, first.id)
            break
        gate.through.set()
        for told in await asyncio.gather(*viewers, steps(joined)):
            assert told[-1].phase is PullPhase.COMPLETE and told[-1].done == 100
            assert {each.job for each in told} == {first.id}
            assert [each.done for each in told] == sorted(each.done for each in told)
        assert gate.runs == 1 and not list(pulls)
        # What has ended is not joined.
        again = start(pulls, at_once)
        assert again is not first and (await steps(again))[-1].phase is PullPhase.COMPLETE

    run(test)


def test_other_keys_and_kinds_are_other_jobs() -> None:
    async def test(pulls: Pulls) -> None:
        gate = Gate()
        first = start(pulls, gate)
        assert start(pulls, gate, "other") is not first
        assert pulls.start("verify", "k", "m", "test", gate) is not first
        assert len({each.id for each in pulls}) == 3

    run(test)


def test_viewers_come_and_go_and_the_job_goes_on() -> None:
    async def test(pulls: Pulls) -> None:
        gate = Gate()
        job = start(pulls, gate)
        for _ in range(3):
            viewer = asyncio.create_task(steps(job))
            await until(job, lambda each: each.done == 10)
            await asyncio.sleep(0)  # The viewer's turn.
            assert job.to_wire()["viewers"] == 1
            viewer.cancel()
            await asyncio.gather(viewer, return_exceptions=True)
            assert job.to_wire()["viewers"] == 0
        gate.through.set()
        assert (await steps(job))[-1].phase is PullPhase.COMPLETE

    run(test)


def test_many_reports_are_told_ten_times_a_second_and_the_last_always() -> None:
    def busy(report: Report, stop: threading.Event) -> PullProgress:
        end = time.monotonic() + 0.5
        done = 0
        while time.monotonic() < end:
            report(step(done := done + 1))
        return step(10**9, PullPhase.COMPLETE)

    async def test(pulls: Pulls) -> None:
        began = time.monotonic()
        told = await steps(start(pulls, busy))
        seconds = time.monotonic() - began
        assert told[-1].done == 10**9 and 3 <= len(told) <= seconds / 0.1 + 3

    run(test)


def test_four_work_at_a_time_and_the_others_say_for_how_many_they_wait() -> None:
    async def test(pulls: Pulls) -> None:
        gates = [Gate() for _ in range(6)]
        jobs = [start(pulls, gate, str(number)) for number, gate in enumerate(gates)]
        for gate in gates[:4]:
            await begun(gate)
        notes = [(job.progress.phase, job.progress.note) for job in jobs[4:]]
        assert notes == [
            (PullPhase.STARTING, "waiting for 1 other download"),
            (PullPhase.STARTING, "waiting for 2 other downloads"),
        ]
        # A check does not wait for downloads.
        check = pulls.start("verify", "k", "m", "test", at_once)
        assert (await steps(check))[-1].phase is PullPhase.COMPLETE
        gates[2].through.set()
        await begun(gates[4])
        assert jobs[4].progress.note == ""
        assert jobs[5].progress.note == "waiting for 1 other download"
        # One that waits ends at once.
        assert pulls.cancel(jobs[5].id)
        with pytest.raises(Interrupted):
            await steps(jobs[5])
        assert gates[5].runs == 0
        for gate in gates:
            gate.through.set()
        for job in jobs[:5]:
            assert (await steps(job))[-1].phase is PullPhase.COMPLETE

    run(test)


def test_what_is_cancelled_with_discard_is_thrown_away_once_it_has_ended() -> None:
    async def test(pulls: Pulls) -> None:
        gate, thrown = Gate(), []

        def discard(files: Sequence[str]) -> int:
            thrown.append((list(files), job.is_over))
            return 10

        job = pulls.start("pull", "k", "m", "test", gate, discard=discard)
        await begun(gate)
        assert await pulls.discard(job.id) == (True, 10)
        with pytest.raises(Interrupted) as caught:
            await steps(job)
        assert "thrown away" in caught.value.hint
        # Once more, as of a paused one.
        assert await pulls.discard(job.id) == (False, 10)
        assert thrown == [([], True)] * 2

    run(test)


def test_the_last_end_of_each_model_is_told_unless_nothing_is_kept() -> None:
    async def test(pulls: Pulls) -> None:
        def ends() -> list[tuple[str, str]]:
            return [(each["model"], each["phase"]) for each in map(PullJob.to_wire, pulls.ended())]

        for _ in range(2):
            paused = pulls.start("pull", "k", "m:Q4_K_M", "test", Gate())
            assert pulls.cancel(paused.id)
            with pytest.raises(Interrupted):
                await steps(paused)
        assert ends() == [("m:Q4_K_M", "cancelled")]
        wire = paused.to_wire()
        assert wire["error"]["type"] == "Interrupted" and wire["progress"]["files"] == ()
        await steps(pulls.start("pull", "k", "m:Q4_K_M", "test", at_once))
        assert ends() == [("m:Q4_K_M", "complete")]
        given_up = pulls.start("pull", "k", "m:Q4_K_M", "test", Gate(), discard=lambda files: 0)
        await pulls.discard(given_up.id)
        assert ends() == []

    run(test)


def test_what_nobody_can_throw_away_is_cancelled_all_the_same() -> None:
    async def test(pulls: Pulls) -> None:
        gate = Gate()
        job = start(pulls, gate)
        await begun(gate)
        assert await pulls.discard(job.id) == (True, 0)
        with pytest.raises(Interrupted) as caught:
            await steps(job)
        assert "is kept" in caught.value.hint

    run(test)


def test_what_is_wanted_again_is_not_thrown_away() -> None:
    async def test(pulls: Pulls) -> None:
        ending = threading.Event()

        def slow_to_end(report: Report, stop: threading.Event) -> PullProgress:
            assert stop.wait(PATIENCE) and ending.wait(PATIENCE)
            raise Interrupted("stopped")

        def discard(files: Sequence[str]) -> int:
            raise AssertionError("somebody wants it")

        job = pulls.start("pull", "k", "m", "test", slow_to_end, discard=discard)
        said = asyncio.create_task(pulls.discard(job.id))
        await until(job, lambda each: each.note == "stopping")
        gate = Gate()
        again = pulls.start("pull", "k", "m", "other", gate, discard=discard)
        assert again is not job
        ending.set()
        assert await said == (True, 0)
        with pytest.raises(Interrupted) as caught:
            await steps(job)
        assert "is kept" in caught.value.hint
        gate.through.set()
        assert (await steps(again))[-1].phase is PullPhase.COMPLETE

    run(test)


def test_a_cancelled_job_tells_all_its_viewers() -> None:
    async def test(pulls: Pulls) -> None:
        gate = Gate()
        job = start(pulls, gate)
        viewers = [asyncio.create_task(steps(job)) for _ in range(3)]
        await begun(gate)
        assert pulls.cancel(job.id) and pulls.cancel(job.id)
        for outcome in await asyncio.gather(*viewers, return_exceptions=True):
            assert isinstance(outcome, Interrupted)
            assert "type the same line again" in outcome.hint
        assert job.progress.phase is PullPhase.CANCELLED and job.progress.done == 10
        assert not pulls.cancel(job.id) and not pulls.cancel("no such job")

    run(test)


def test_the_same_again_after_a_cancel_waits_for_its_end() -> None:
    async def test(pulls: Pulls) -> None:
        slow, end = threading.Event(), threading.Event()

        def stubborn(report: Report, stop: threading.Event) -> PullProgress:
            slow.set()
            end.wait(PATIENCE)
            raise OSError("the connection was closed")

        first = start(pulls, stubborn)
        await asyncio.to_thread(slow.wait, PATIENCE)
        pulls.cancel(first.id)
        assert first.progress.note == "stopping"
        second = start(pulls, at_once)
        assert second is not first and not second.is_working
        assert "waiting" in second.progress.note
        end.set()
        # What a stop leads to is a stop.
        with pytest.raises(Interrupted):
            await steps(first)
        assert (await steps(second))[-1].phase is PullPhase.COMPLETE

    run(test)


def test_what_fails_says_why_to_each_and_later_too() -> None:
    def gated(report: Report, stop: threading.Event) -> PullProgress:
        report(step(7))
        raise Gated("It wants a licence.", hint="Accept it.", data={"repository": "o/n"})

    async def test(pulls: Pulls) -> None:
        job = start(pulls, gated)
        errors = []
        for _ in range(2):
            told = []
            with pytest.raises(Gated) as caught:
                async for each in pulls.find(job.id).watch():
                    told.append(each)  # noqa: PERF401  what comes before the error counts
            errors.append(caught.value)
            assert told[-1].phase is PullPhase.FAILED and told[-1].done == 7
        assert errors[0] is not errors[1] and errors[0].to_wire() == errors[1].to_wire()
        assert errors[0].hint == "Accept it." and errors[0].data == {"repository": "o/n"}

    run(test)


@pytest.mark.parametrize("kind", [Gated, ValueError], ids=["ours", "a surprise"])
def test_a_secret_is_in_no_error_and_no_log(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    def careless(report: Report, stop: threading.Event) -> PullProgress:
        if issubclass(kind, LLMSpellError):
            raise kind(f"no {SECRET}", hint=SECRET, data={SECRET: [SECRET, {"a": SECRET}]})
        raise kind(f"Authorization: Bearer {SECRET}")

    async def test(pulls: Pulls) -> None:
        job = start(pulls, careless, secret=SECRET)
        with pytest.raises(EngineError if kind is ValueError else kind) as caught:
            await steps(job)
        assert isinstance(caught.value, LLMSpellError)
        assert "***" in str(caught.value) and SECRET not in str(caught.value.to_wire())
        assert SECRET not in str(job.to_wire()) and SECRET not in repr(job)

    with caplog.at_level(logging.DEBUG):
        run(test)
    assert SECRET not in caplog.text
    assert ("Bearer ***" in caplog.text) == (kind is ValueError)


def test_fifty_ends_are_kept_for_an_hour() -> None:
    now = [0.0]

    async def test(pulls: Pulls) -> None:
        jobs = [start(pulls, at_once, str(number)) for number in range(4)]
        for job in jobs:
            await steps(job)
        now[0] = 3599
        assert all(pulls.find(job.id) is job for job in jobs)
        more = [start(pulls, at_once, str(number)) for number in range(48)]
        for job in more:
            await steps(job)
        assert [_kept(pulls, job) for job in jobs] == [False, False, True, True]
        now[0] = 3601
        assert not any(_kept(pulls, job) for job in jobs)
        assert all(_kept(pulls, job) for job in more)

    run(test, Pulls(clock=lambda: now[0]))


def _kept(pulls: Pulls, job: PullJob) -> bool:
    try:
        return pulls.find(job.id) is job
    except RequestError:
        return False


def test_all_end_with_the_engine() -> None:
    async def test(pulls: Pulls) -> None:
        gates = [Gate() for _ in range(6)]
        jobs = [start(pulls, gate, str(number)) for number, gate in enumerate(gates)]
        for gate in gates[:4]:
            await begun(gate)
        await pulls.close()
        assert not list(pulls)
        for job in jobs:
            with pytest.raises(Interrupted, match="engine was stopped"):
                await steps(job)
        assert [gate.runs for gate in gates[4:]] == [0, 0]
        with pytest.raises(EngineUnavailable):
            start(pulls, at_once)

    run(test)


def test_one_that_hangs_does_not_keep_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmspell_jupyter.engine.pulls._GRACE_SECONDS", 0.2)
    end = threading.Event()
    ended = threading.Event()

    def hangs(report: Report, stop: threading.Event) -> PullProgress:
        end.wait(PATIENCE)
        # The loop is closed by now; nobody is there to be told.
        report(step(1))
        ended.set()
        return step(100, PullPhase.COMPLETE)

    async def test(pulls: Pulls) -> None:
        start(pulls, hangs)
        began = time.monotonic()
        await pulls.close()
        assert 0.2 <= time.monotonic() - began < 2

    run(test)
    end.set()
    assert ended.wait(PATIENCE)
