"""Who leaves when memory is short or time is over."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspell_jupyter.engine.residency import Plan, Resident, expired, next_expiry, plan

OLD = Resident("old", 10, 1.0)
NEW = Resident("new", 20, 2.0)
BUSY = Resident("busy", 100, None)
PINNED = Resident("pinned", 100, 0.0, pinned=True)


@pytest.mark.parametrize(
    ("residents", "need", "free", "most", "expected"),
    [
        ([], 5, 5, None, Plan((), True)),
        ([], 6, 5, None, Plan((), False, 1)),
        ([NEW, OLD], 5, 5, None, Plan((), True)),
        ([NEW, OLD], 6, 5, None, Plan(("old",), True)),
        ([NEW, OLD], 15, 5, None, Plan(("old",), True)),
        ([NEW, OLD], 16, 5, None, Plan(("old", "new"), True)),
        # Nobody is driven out for nothing.
        ([NEW, OLD], 36, 5, None, Plan((), False, 1)),
        ([BUSY, PINNED], 6, 5, None, Plan((), False, 1)),
        ([BUSY, PINNED, OLD], 6, 5, None, Plan(("old",), True)),
        # Of two that are idle as long, the order of names decides.
        ([Resident("b", 9, 1.0), Resident("a", 9, 1.0)], 6, 5, None, Plan(("a",), True)),
        # What one model may take at most does not grow when others leave.
        ([OLD], 6, 5, 5, Plan((), False, 1)),
        ([OLD], 6, 5, 6, Plan(("old",), True)),
        ([OLD], 0, 0, None, Plan((), True)),
    ],
)
def test_room_is_made(
    residents: list[Resident], need: int, free: int, most: int | None, expected: Plan
) -> None:
    assert plan(residents, need, free, most) == expected


RESIDENTS = st.lists(
    st.builds(
        Resident,
        id=st.text("abcdefgh", min_size=1, max_size=3),
        size=st.integers(0, 50),
        idle_since=st.none() | st.integers(0, 9).map(float),
        pinned=st.booleans(),
        ttl=st.integers(0, 9).map(float),
    ),
    max_size=8,
    unique_by=lambda each: each.id,
)


@given(RESIDENTS, st.integers(0, 200), st.integers(0, 100))
def test_no_more_leave_than_have_to(residents: list[Resident], need: int, free: int) -> None:
    found = plan(residents, need, free)
    idle = [each for each in residents if each.idle_since is not None and not each.pinned]
    by_id = {each.id: each for each in residents}
    freed = [by_id[each].size for each in found.evict]
    assert set(found.evict) <= {each.id for each in idle}
    assert found.fits == (need <= free + sum(each.size for each in idle))
    assert found.fits == (found.short_by == 0)
    if not found.fits:
        assert found.evict == ()
        assert need == free + sum(each.size for each in idle) + found.short_by
        return
    assert need <= free + sum(freed)
    if freed:
        assert need > free + sum(freed[:-1])
    # Nobody stays who was idle before one that leaves.
    staying = [each for each in idle if each.id not in found.evict]
    for gone in found.evict:
        for stays in staying:
            assert (by_id[gone].idle_since, gone) < (stays.idle_since, stays.id)
    assert list(residents) == list(by_id.values())


@given(RESIDENTS, st.integers(0, 200), st.integers(0, 100), st.randoms())
def test_the_order_of_the_list_does_not_matter(
    residents: list[Resident], need: int, free: int, random: object
) -> None:
    before = plan(residents, need, free)
    random.shuffle(residents)  # type: ignore[attr-defined]
    assert plan(residents, need, free) == before


def test_time_is_over() -> None:
    residents = [
        Resident("kept", 1, 0.0, ttl=0.0),
        Resident("pinned", 1, 0.0, pinned=True, ttl=5.0),
        Resident("busy", 1, None, ttl=5.0),
        Resident("later", 1, 3.0, ttl=5.0),
        Resident("sooner", 1, 2.0, ttl=6.0),
        Resident("long", 1, 1.0, ttl=100.0),
    ]
    assert expired(residents, 7.9) == ()
    assert expired(residents, 8.0) == ("sooner", "later")
    assert next_expiry(residents) == 8.0
    assert next_expiry(residents[:3]) is None


@given(RESIDENTS, st.integers(0, 20).map(float))
def test_whoever_expires_may_leave(residents: list[Resident], now: float) -> None:
    gone = expired(residents, now)
    for each in residents:
        over = each.idle_since is not None and each.ttl > 0 and each.idle_since + each.ttl <= now
        assert (each.id in gone) == (over and not each.pinned)
    soonest = next_expiry(residents)
    assert bool(gone) == (soonest is not None and soonest <= now)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 60))
def test_if_any_choice_fits_the_plan_does(sizes: list[int], need: int) -> None:
    residents = [Resident(str(at), size, float(at)) for at, size in enumerate(sizes)]
    any_fits = any(
        sum(chosen) >= need
        for count in range(len(sizes) + 1)
        for chosen in combinations(sizes, count)
    )
    assert plan(residents, need, 0).fits == any_fits
