from __future__ import annotations

import pytest

from llmspell_jupyter.engine.restarts import MOST, Restarts
from llmspell_jupyter.errors import (
    SEE_LOGS,
    BadModelFile,
    CrashLoop,
    LLMSpellError,
    WorkerDied,
    from_wire,
)


class Clock:
    """Seconds that pass when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


ACCIDENT = WorkerDied("It was ended by SIGKILL.", hint="Run the cell again.")


def after(deaths: int, clock: Clock, error: LLMSpellError = ACCIDENT) -> Restarts:
    restarts = Restarts("m", clock)
    for _ in range(deaths):
        restarts.died(error)
    return restarts


def refusal(restarts: Restarts) -> CrashLoop:
    with pytest.raises(CrashLoop) as caught:
        restarts.check()
    return caught.value


def test_pauses_grow_and_are_over_when_that_time_has_passed() -> None:
    clock = Clock()
    pauses = [after(deaths, clock).pause() for deaths in range(MOST)]
    assert pauses == sorted(pauses) and pauses[:2] == [0, 0] and sum(pauses) < 10
    tired = after(MOST - 1, clock)
    clock.now += pauses[-1] / 2
    assert tired.pause() == pauses[-1] / 2
    clock.now += pauses[-1]
    assert tired.pause() == 0


def test_the_fifth_death_is_the_last() -> None:
    clock = Clock()
    after(MOST - 1, clock).check()
    error = refusal(after(MOST, clock))
    assert "m is not started again: its process died 5 times" in error.message
    assert error.message.endswith(ACCIDENT.message)
    assert error.hint == f"{SEE_LOGS}\nOnce the cause is mended, type: %model_load m"
    assert error.data["deaths"] == MOST and error.data["tried_again_in_seconds"] == 600
    assert from_wire(error.data["last"]).message == ACCIDENT.message
    assert isinstance(from_wire(error.to_wire()), CrashLoop)


@pytest.mark.parametrize(
    "error",
    [
        BadModelFile("It is cut short.", hint="Fetch it again."),
        WorkerDied("Illegal instruction.", hint="Fetch it again.", data={"repair": "pip"}),
    ],
)
def test_what_mends_it_is_said(error: LLMSpellError) -> None:
    told = refusal(after(MOST, Clock(), error)).hint
    assert told == "Fetch it again.\nOnce the cause is mended, type: %model_load m"


def test_an_answer_makes_them_forgotten() -> None:
    restarts = after(MOST, Clock())
    restarts.forget()
    restarts.check()
    assert restarts.deaths == 0 and restarts.pause() == 0


def test_so_does_time() -> None:
    clock = Clock()
    restarts = after(MOST, clock)
    clock.now += 599
    assert refusal(restarts).data["tried_again_in_seconds"] == 1
    clock.now += 2
    restarts.check()
    assert restarts.deaths == 0
    restarts.died(ACCIDENT)
    assert restarts.deaths == 1
