"""How fast models are: measured with small ones, corrected by answers, kept in a file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import pytest

from llmspell_jupyter.engine import costs, speed_file
from llmspell_jupyter.engine.costs import BaseCost, KindCost
from llmspell_jupyter.engine.probe import Probe, Times, disturbed
from llmspell_jupyter.engine.speed import Judged, Speeds, judged_file
from llmspell_jupyter.engine.speed_file import Measured, Place
from llmspell_jupyter.errors import EngineError
from llmspell_jupyter.models import inspect, probe_gguf, store
from llmspell_jupyter.models.gguf_kinds import KINDS
from llmspell_jupyter.models.gguf_work import Work
from llmspell_jupyter.types import LoadOptions, ModelInfo

OPTIONS = LoadOptions(context_size=1024)
BASE = BaseCost(layer=1e-6, choice=1e-9, attention=1e-9)
COST = KindCost(low=0.9e-10, middle=1e-10, high=1.2e-10, prompt=2e-11)


def work(**kinds: int) -> Work:
    return Work(MappingProxyType(kinds), MappingProxyType(kinds), 10, 1000, 1000)


def judged(**kinds: int) -> Judged:
    return Judged("GGUF", "llama", 10**8, work(**kinds))


def run(make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(make())


def known(path: Path, **place: Any) -> Path:
    """A file of what was measured with the options here."""
    place = {"base": BASE, "kinds": {"Q4_K": COST}, "device": "cpu"} | place
    speed_file.write(path, {speed_file.key(OPTIONS): Place(**place)})
    return path


def test_a_token_costs_its_weights_its_context_and_the_rest() -> None:
    found = costs.estimate(work(Q4_K=10**8), 100, BASE, {"Q4_K": COST})
    assert found is not None
    rest = 10 * 1e-6 + 1000 * 1e-9 + 100 * 1000 * 1e-9
    assert found.middle == pytest.approx(1e-2 + rest)
    assert found.low == pytest.approx(0.9e-2 + rest)
    assert found.high == pytest.approx(1.2e-2 + rest)
    assert found.prompt == pytest.approx(2e-3)
    mixed = work(Q4_K=10**8, F32=10**6)
    # A few numbers of another kind are not worth a measurement.
    assert costs.missing(mixed, {"Q4_K": COST}) == []
    assert costs.missing(work(Q4_K=10**8, Q6_K=2 * 10**8), {}) == ["Q6_K", "Q4_K"]
    assert costs.estimate(work(Q6_K=10**8), 100, BASE, {"Q4_K": COST}) is None


def test_what_was_measured_is_told_without_measuring(tmp_path: Path) -> None:
    async def ask() -> Any:
        speeds = Speeds(known(tmp_path / "speeds.json"), busy=lambda: True)
        return await speeds.expect(judged(Q4_K=10**8), OPTIONS, 1024)

    speed, note, device = run(ask)
    assert (note, device) == ("From a short measurement of this machine.", "cpu")
    assert speed.low < speed.expected < speed.high
    assert speed.expected == pytest.approx(1 / (1e-2 + 2.67e-4), rel=0.01)
    assert speed.full < speed.expected
    assert not speed.measured


@pytest.mark.parametrize(
    ("model", "busy", "device", "note"),
    [
        (Judged("safetensors", "t5", 10**8, None), False, "", "only GGUF models"),
        (Judged("GGUF", "llama", 10**8, None), False, "", "how its weights are held"),
        (judged(Q6_K=10**8), True, "cpu", "models work now"),
        (judged(Q6_K=10**8), False, "cuda", "the speed of cuda is not measured"),
    ],
)
def test_no_speed_is_guessed(
    tmp_path: Path, model: Judged, busy: bool, device: str, note: str
) -> None:
    async def ask() -> Any:
        speeds = Speeds(known(tmp_path / "speeds.json", device=device), busy=lambda: busy)
        return await speeds.expect(model, OPTIONS, 1024)

    speed, said, _ = run(ask)
    assert speed is None
    assert said.startswith(f"Not measured: {note}")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 1}', '{"version": 1, "places": {"a": {}}}',
             '{"version": 1, "places": {"a": {"base": [1,2,NaN], "kinds": {}, "device": "", '
             '"corrections": {}, "models": {}}}}', "[" * 100_000],
)  # fmt: skip
def test_a_damaged_file_is_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "speeds.json"
    path.write_text(text)
    assert speed_file.read(path) == {}


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "speeds.json"
    places = {
        "a": Place(BASE, {"Q4_K": COST}, "cpu", {"Q4_K": 1.5}, {"m": Measured(0.1, 10, 0.1, 3)}),
        "b": Place(),
    }
    speed_file.write(path, places)
    assert speed_file.read(path) == places
    assert [each.name for each in path.parent.iterdir()] == ["speeds.json"]


def facts(speed: float | None, tokens: int = 100, **rest: Any) -> dict[str, Any]:
    return {"tokens_per_second": speed, "completion_tokens": tokens, "prompt_tokens": 206} | rest


@pytest.fixture
def model(tmp_path: Path) -> ModelInfo:
    path = tmp_path / "model.gguf"
    probe_gguf.write(path, probe_gguf.Shape(4), KINDS["Q4_K"], KINDS["F32"])
    return store.resolve(str(path))


def test_answers_correct_what_is_foretold(tmp_path: Path, model: ModelInfo) -> None:
    path = known(tmp_path / "speeds.json")

    async def ask() -> Any:
        speeds = Speeds(path)
        mine, other = judged_file(model), judged(Q4_K=10**8)
        before = [await speeds.expect(each, OPTIONS, 1024) for each in (mine, other)]
        for _ in range(30):
            speeds.note(facts(before[0][0].expected / 1.5), model, OPTIONS)
            await speeds.close()
        return before, [await speeds.expect(each, OPTIONS, 1024) for each in (mine, other)]

    before, after = run(ask)
    speed, note, _ = after[0]
    assert note == "From 30 answers of this model on this machine."
    assert speed.measured
    assert speed.expected == pytest.approx(before[0][0].expected / 1.5, rel=0.05)
    assert speed.high / speed.low < 1.2
    # Models of the same kind that never ran are foretold with what this one taught.
    assert after[1][0].expected == pytest.approx(before[1][0].expected / 1.5, rel=0.05)
    assert not after[1][0].measured
    place = json.loads(path.read_text())["places"][speed_file.key(OPTIONS)]
    assert place["corrections"]["Q4_K"] == pytest.approx(1.5, rel=0.05)
    # An engine that starts later knows it, too.
    later = run(lambda: Speeds(path).expect(judged_file(model), OPTIONS, 1024))
    assert later == after[0]


def test_corrections_are_bounded(tmp_path: Path, model: ModelInfo) -> None:
    path = known(tmp_path / "speeds.json")

    async def ask() -> None:
        speeds = Speeds(path)
        for _ in range(20):
            speeds.note(facts(1e-3), model, OPTIONS)
            await speeds.close()

    run(ask)
    corrections = speed_file.read(path)[speed_file.key(OPTIONS)].corrections
    assert corrections["Q4_K"] == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize(
    "answer", [facts(None), facts(50, tokens=19), facts(50, batched_steps=1), {}]
)
def test_what_says_little_is_not_learnt(
    tmp_path: Path, model: ModelInfo, answer: dict[str, Any]
) -> None:
    async def ask() -> None:
        speeds = Speeds(tmp_path / "speeds.json")
        speeds.note(answer, model, OPTIONS)
        await speeds.close()

    run(ask)
    assert not (tmp_path / "speeds.json").exists()


def test_a_probe_is_a_sound_model(model: ModelInfo) -> None:
    assert inspect.read_gguf(model.path).architecture == "llama"
    assert (model.architecture, model.context_length) == ("llama", 4096)


@pytest.mark.parametrize("kind", ["Q4_1", "Q6_K", "F16"])
def test_a_real_worker_measures(kind: str) -> None:
    async def measure() -> tuple[dict[str, KindCost], BaseCost | None]:
        # One thread: others would wait for each other on a busy machine.
        probe = Probe(LoadOptions(cpu_threads=1, device="cpu"), patience=60)
        found = await probe.measure([kind], kind, {})
        assert probe.facts["device"] == "cpu"
        return found

    costs, base = run(measure)
    (cost,) = costs.values()
    assert 0 < cost.low <= cost.middle <= cost.high < 1e-6
    assert 0 < cost.prompt < 1e-6
    assert min(base.layer, base.choice, base.attention) >= 0


def test_only_what_is_asked_for_is_measured() -> None:
    async def measure() -> Any:
        probe = Probe(LoadOptions(cpu_threads=1, device="cpu"), patience=60)
        return await probe.measure([], "Q4_K", {"Q4_K": COST})

    costs, base = run(measure)
    assert costs == {} and base is not None


def test_a_measurement_that_takes_too_long_is_given_up() -> None:
    async def measure() -> None:
        await Probe(LoadOptions(device="cpu"), patience=0.01).measure(["Q4_K"], "Q4_K", {})

    before = {each.pid for each in psutil.Process().children()}
    with pytest.raises(EngineError, match="too busy to be measured"):
        run(measure)
    assert {each.pid for each in psutil.Process().children()} <= before


@pytest.mark.parametrize(
    ("seconds", "busy", "own", "threads", "cores", "expected"),
    [
        # The measurement had its thread, and another core was free or taken.
        (1.0, 1.0, 1.0, 1, 2, False),
        (1.0, 2.0, 1.0, 1, 2, False),
        (1.0, 2.0, 0.6, 1, 2, True),
        # It wants both: a little of another is noise, and a third of a core is not.
        (1.0, 2.0, 1.75, 2, 2, False),
        (1.0, 2.0, 1.6, 2, 2, True),
        (0.5, 1.0, 0.8, 2, 2, True),
        (1.0, 4.0, 2.0, 2, 8, False),
        # Clocks of few steps, or none at all, accuse nobody.
        (1.0, 0.9, 1.0, 2, 2, False),
        (0.0, 0.0, 0.0, 2, 2, False),
        (1.0, 0.0, 1.9, 2, 2, False),
    ],
)
def test_who_disturbs_a_measurement(
    seconds: float, busy: float, own: float, threads: int, cores: int, expected: bool
) -> None:
    before = Times(1000.0, 70_000.0, 3.0)
    after = Times(1000.0 + seconds, 70_000.0 + busy, 3.0 + own)
    assert disturbed(before, after, threads, cores) is expected


def test_what_a_disturbed_measurement_says_is_marked_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> Any:
        speeds = Speeds(path)
        first = await speeds.expect(judged(Q4_K=10**8), OPTIONS, 1024)
        assert await speeds.expect(judged(Q4_K=10**8), OPTIONS, 1024) == first
        return first

    told = {}
    for others in (False, True):

        async def measure(self: Probe, *_: Any, others: bool = others) -> Any:
            self.facts, self.disturbed = {"device": "cpu"}, others
            return {"Q4_K": COST}, BASE

        # What disturbs a real one comes and goes as it likes.
        monkeypatch.setattr(Probe, "measure", measure)
        path = tmp_path / f"{others}.json"
        told[others] = run(ask), path.exists()
    (quiet, note, _), kept = told[False]
    (loud, marked, _), lasts = told[True]
    assert (note, kept) == ("From a short measurement of this machine.", True)
    assert (marked, lasts) == (note[:-1] + ", which other programs disturbed.", False)
    assert loud.expected == quiet.expected
    assert loud.low < 0.8 * quiet.low and loud.high > 1.3 * quiet.high


def test_nobody_waits_long_and_the_measurement_goes_on(tmp_path: Path) -> None:
    async def ask() -> tuple[Any, Any]:
        hasty = Speeds(path, longest=0.0)
        first = await hasty.expect(judged(Q4_K=10**8), options, 1024)
        # Who asks then waits for the same measurement.
        hasty._longest = 60
        later = await hasty.expect(judged(Q4_K=10**8), options, 1024)
        await hasty.close()
        return first, later

    options = LoadOptions(cpu_threads=1, device="cpu")
    path = tmp_path / "speeds.json"
    (speed, note, _), (later, _, device) = run(ask)
    assert speed is None
    assert note == ("Not measured: this machine is being measured yet; ask again in a few seconds.")
    assert later is not None and device == "cpu"


def test_a_machine_that_cannot_be_measured_is_left_in_peace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    async def measure(*_: Any) -> Any:
        tried.append(1)
        raise EngineError("The machine is too busy to be measured.")

    monkeypatch.setattr(Probe, "measure", measure)

    async def ask() -> list[Any]:
        speeds = Speeds(tmp_path / "speeds.json")
        several = [speeds.expect(judged(Q4_K=10**8), OPTIONS, 1024) for _ in range(20)]
        return await asyncio.gather(*several)

    for speed, note, _ in run(ask):
        assert (speed, note) == (None, "Not measured: The machine is too busy to be measured.")
    assert len(tried) == 1


def test_a_measurement_ends_with_the_engine(tmp_path: Path) -> None:
    async def ask() -> None:
        speeds = Speeds(tmp_path / "speeds.json", longest=0.0)
        await speeds.expect(judged(Q4_K=10**8), OPTIONS, 1024)
        await speeds.close()

    before = {each.pid for each in psutil.Process().children()}
    run(ask)
    assert {each.pid for each in psutil.Process().children()} <= before
