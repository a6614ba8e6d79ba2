"""P2, M7: whatever a server does, the store holds the right file or there is an error with a name."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.errors import Gated, HashMismatch, PullError, Unreachable
from llmspell_jupyter.models.transfer import addresses
from llmspell_jupyter.types import PullPhase
from tests.support import pulls
from tests.support.hub_server import Hub
from tests.support.pulls import KEY, QUICK, REPOSITORY, WEIGHTS, Pulls

SIZE = len(bytes(pulls.files()[WEIGHTS]))  # type: ignore[arg-type]

# Faults that another try mends.
MENDED: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "drops": [("drop", {"at": at, "times": 1}) for at in (1, 100_000, 500_000, SIZE - 1)],
    "drops everything": [("drop", {"after": 70_000, "times": 12})],
    "resets": [("drop", {"at": 300_000, "times": 2, "reset": True})],
    "drops before the first byte": [("drop", {"after": 0, "times": 2})],
    "stalls": [("stall", {"at": 400_000, "times": 2})],
    "never answers": [("silent", {"times": 1})],
    "is no HTTP": [("garbage", {"times": 1})],
    "errors": [("status", {"status": status, "times": 1}) for status in (500, 502, 503, 504)],
    "is busy": [("status", {"status": 429, "times": 2, "retry_after": 1})],
    "ignores ranges": [("no_range", {})],
    "ignores ranges and drops": [("no_range", {}), ("drop", {"at": 600_000, "times": 2})],
    "drips": [("drip", {"bytes_per_second": 200_000, "times": 1})],
}


@pytest.mark.parametrize("cdn", [False, True])
@pytest.mark.parametrize("name", MENDED)
def test_p2_right_file_in_the_end(hub: Hub, model: Pulls, name: str, cdn: bool) -> None:
    hub.cdn = cdn
    for kind, how in MENDED[name]:
        hub.fault(KEY, kind, **how)  # type: ignore[arg-type]
    done = model.pull()
    assert done.phase is PullPhase.COMPLETE
    assert model.published() == pulls.files()
    assert model.left() == []
    amounts = [each.done for each in model.reports]
    assert amounts == sorted(amounts)


# Faults that no try mends, and a word of the error.
NAMED: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "wrong bytes": ("wrong", {"at": 700_000}, HashMismatch, "not what was published"),
    "other range": ("range", {"by": 100}, PullError, "other bytes"),
    "wrong length": ("length", {"by": 1000}, PullError, "length"),
    "other content": ("etag", {"to": "0" * 64}, PullError, "changes"),
    "gzip bomb": ("gzip", {"size": 64 * 1024**2}, PullError, "compressed"),
    "errors for ever": ("status", {"status": 500}, PullError, "4 times"),
    "too long a pause": ("status", {"status": 429, "retry_after": 3600}, PullError, "3,600 s"),
    "416": ("status", {"status": 416}, PullError, "does not have the bytes"),
    "gone": ("status", {"status": 404}, PullError, "not there"),
    "teapot": ("status", {"status": 418}, PullError, "answers 418"),
    "not for us": ("status", {"status": 403}, Gated, "permission"),
    "silent for ever": ("silent", {}, PullError, "silent"),
    "stalls for ever": ("stall", {"after": 0}, PullError, "silent"),
    "a circle": ("redirect", {"to": f"/{REPOSITORY}/resolve/main/{WEIGHTS}"}, PullError, "circles"),
    "nowhere": ("redirect", {"to": ""}, PullError, "without saying where"),
}


@pytest.mark.parametrize("name", NAMED)
def test_p2_an_error_with_a_name(hub: Hub, model: Pulls, name: str) -> None:
    kind, how, error, word = NAMED[name]
    hub.fault(KEY, kind, **how)  # type: ignore[arg-type]
    with pytest.raises(error, match=word) as caught:
        model.pull()
    assert getattr(caught.value, "hint", "")
    assert not (model.root / "snapshots").exists()
    # What was right about it is kept: mended, the next pull goes on.
    hub.mend()
    model.pull()
    assert model.published() == pulls.files()
    assert model.left() == []


def test_p2_nobody_there(hub: Hub, model: Pulls) -> None:
    request = model.request()
    hub.close()
    with pytest.raises(Unreachable):
        model.pull(request)
    assert not model.cache.exists()


def test_p2_a_network_that_goes_away_is_waited_for(
    hub: Hub, model: Pulls, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = addresses.resolved, [1, 1]
    drop = hub.fault(KEY, "drop", at=300_000, times=2)

    def resolved(target: addresses.Target) -> Any:
        if failures and drop.happened:
            failures.pop()
            raise addresses.unknown_host(target.host)
        return real(target)

    monkeypatch.setattr(addresses, "resolved", resolved)
    model.pull()
    assert not failures
    assert model.published() == pulls.files()


def test_p2_a_network_that_stays_away_leaves_what_came(
    hub: Hub, model: Pulls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolved(target: addresses.Target) -> Any:
        raise addresses.unknown_host(target.host)

    monkeypatch.setattr(addresses, "resolved", resolved)
    with pytest.raises(Unreachable, match="no network"):
        model.pull()
    assert model.left() == []


def test_p2_a_silent_server_is_noticed_in_time(hub: Hub, model: Pulls) -> None:
    """Seen in at most 1.5 times the limit, said, and what came is kept."""
    hub.fault(KEY, "stall", at=900_000, times=1)
    limit = 1.0
    begun = time.monotonic()
    seen: list[float] = []

    def look(progress: Any) -> None:
        if "silent for 1 s" in progress.note and not seen:
            seen.append(time.monotonic() - begun)

    model.pull(pace=replace(QUICK, stall_seconds=limit), report=look)
    assert limit <= seen[0] <= 1.5 * limit
    assert hub.served(KEY) < 1.2 * SIZE


def test_p2_a_connection_that_brings_next_to_nothing_is_given_up(hub: Hub, model: Pulls) -> None:
    hub.fault(KEY, "drip", bytes_per_second=200, times=4)
    model.pull(pace=replace(QUICK, stall_seconds=0.3))
    assert "bytes a second" in model.notes
    assert model.published() == pulls.files()


def test_p2_one_stream_is_said(hub: Hub, model: Pulls) -> None:
    hub.fault(KEY, "no_range")
    done = model.pull()
    assert "only as a whole" in done.note


def test_p2_bytes_that_are_here_already_are_no_progress(hub: Hub, model: Pulls) -> None:
    """A server without ranges that breaks off at one place every time is not asked for ever."""
    hub.fault(KEY, "no_range")
    hub.fault(KEY, "drop", after=200_000)
    stop = threading.Event()

    def look(progress: Any) -> None:
        if hub.served(KEY) > 20 * 200_000:
            stop.set()

    with pytest.raises(PullError, match="4 times"):
        model.pull(stop=stop, report=look)
    assert hub.served(KEY) <= (1 + QUICK.tries + QUICK.connections) * 200_000


def test_p2_a_server_without_ranges_may_come_further_each_time(hub: Hub, model: Pulls) -> None:
    hub.fault(KEY, "no_range")
    for at in range(100_000, SIZE, 100_000):
        hub.fault(KEY, "drop", at=at, times=1)
    model.pull()
    assert model.published() == pulls.files()


def test_p2_a_busy_server_is_given_the_time_that_it_wants(hub: Hub, model: Pulls) -> None:
    hub.fault(KEY, "status", status=429, retry_after=1, times=1)
    begun = time.monotonic()
    model.pull()
    assert time.monotonic() - begun >= 1
    assert "is busy" in model.notes


def test_p2_content_that_changes_once_is_fetched_anew(hub: Hub, model: Pulls) -> None:
    hub.fault(KEY, "etag", to="0" * 64, times=1, skip=2)
    done = model.pull()
    assert "has changed on the server" in done.note
    assert model.published() == pulls.files()


def test_p2_an_address_that_has_run_out_is_asked_for_again(hub: Hub, model: Pulls) -> None:
    hub.cdn = True
    hub.fault(KEY, "expired", times=2)
    model.pull()
    assert model.published() == pulls.files()


def test_p2_an_update_between_two_tries_leaves_nothing_of_the_old(hub: Hub, model: Pulls) -> None:
    hub.fault(KEY, "drop", after=100_000)
    hub.fault(KEY, "status", status=500, skip=1)
    with pytest.raises(PullError):
        model.pull()
    assert any(name.endswith(".part") for name in model.left())
    hub.mend()
    hub.add(REPOSITORY, pulls.files(seed=1))
    model.pull()
    assert model.published() == pulls.files(seed=1)
    assert model.left() == []


def test_p1_what_came_is_not_fetched_twice(hub: Hub, model: Pulls) -> None:
    hub.fault(KEY, "drop", at=SIZE - 1)
    with pytest.raises(PullError):
        model.pull()
    done = model.reports[-1].done
    assert done > SIZE // 2
    hub.mend()
    before = hub.served(KEY)
    model.pull()
    assert model.reports[-1].done >= done
    assert hub.served(KEY) - before <= SIZE - done + 10_000
    assert model.published() == pulls.files()


def test_p1_a_partial_that_a_power_loss_damaged_is_fetched_again_once(
    hub: Hub, model: Pulls
) -> None:
    hub.fault(KEY, "drop", at=SIZE - 1)
    with pytest.raises(PullError):
        model.pull()
    hub.mend()
    partial = _partial(model)
    with partial.open("r+b") as file:
        file.seek(1000)
        file.write(bytes(500))
    done = model.pull()
    assert "fetched again" in done.note
    assert model.published() == pulls.files()
    assert model.left() == []


@pytest.mark.parametrize(
    "damage", ["cut", "gone", "journal cut", "journal garbage", "journal gone"]
)
def test_p1_any_state_of_a_partial_ends_well(hub: Hub, model: Pulls, damage: str) -> None:
    hub.fault(KEY, "drop", at=SIZE - 1)
    with pytest.raises(PullError):
        model.pull()
    hub.mend()
    partial = _partial(model)
    journal = partial.with_suffix(".journal")
    match damage:
        case "cut":
            with partial.open("r+b") as file:
                file.truncate(100_000)
        case "gone":
            partial.unlink()
        case "journal cut":
            with journal.open("r+b") as file:
                file.truncate(journal.stat().st_size - 7)
        case "journal garbage":
            with journal.open("ab") as file:
                file.write(b"\xff" * 333)
        case _:
            journal.unlink()
    model.pull()
    assert model.published() == pulls.files()
    assert model.left() == []


def test_m7_a_flipped_bit_is_found_fifty_times_of_fifty(hub: Hub, tmp_path: Path) -> None:
    hub.add(REPOSITORY, pulls.files(size=100_000))
    draw = random.Random(7)
    size = len(pulls.weights(100_000))
    for number in range(50):
        model = Pulls(hub, tmp_path / str(number))
        fault = hub.fault(KEY, "wrong", at=draw.randrange(size))
        with pytest.raises(HashMismatch) as caught:
            model.pull()
        assert fault.happened == 1
        assert caught.value.data["files"][0]["path"] == WEIGHTS
        assert not (model.root / "snapshots").exists()
        assert not any(WEIGHTS in name or name.endswith(".part") for name in _names(model, WEIGHTS))
        hub.mend()


def test_m7_small_files_are_checked_by_gits_hash(hub: Hub, model: Pulls) -> None:
    hub.fault(f"{REPOSITORY}/config.json", "wrong", at=10)
    with pytest.raises(HashMismatch, match=r"config\.json"):
        model.pull()
    assert not (model.root / "snapshots").exists()


def _partial(model: Pulls) -> Path:
    return max((model.root / ".llmspell").glob("*.part"), key=lambda path: path.stat().st_size)


def _names(model: Pulls, path: str) -> list[str]:
    """Files that hold bytes of this one."""
    import hashlib

    blob = hashlib.sha256(pulls.weights(100_000)).hexdigest()
    return [str(each) for each in model.cache.rglob(f"{blob}*")]
