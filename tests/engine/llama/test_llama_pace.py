import pytest

from llmspell_jupyter.engine.backends._llama.pace import Pace


def test_the_first_slices_are_small():
    pace = Pace(512)
    assert (pace.slice(beside=True), pace.slice(beside=False)) == (16, 64)


@pytest.mark.parametrize(
    ("per_second", "beside", "alone"),
    [(30, 16, 64), (250, 25, 125), (2000, 200, 512), (100_000, 512, 512)],
)
def test_slices_take_about_as_long_on_every_machine(per_second, beside, alone):
    pace = Pace(512)
    for _ in range(20):
        pace.note(100, 100 / per_second)
    assert pace.slice(beside=True) == pytest.approx(beside, abs=1)
    assert pace.slice(beside=False) == pytest.approx(alone, abs=1)


def test_slices_are_no_longer_than_a_batch():
    pace = Pace(8)
    assert (pace.slice(beside=True), pace.slice(beside=False)) == (8, 8)


def test_it_follows_a_machine_that_gets_slower():
    pace = Pace(512)
    pace.note(512, 0.1)
    for _ in range(8):
        pace.note(64, 1)
    assert pace.slice(beside=True) == 16
