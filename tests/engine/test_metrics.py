"""What Prometheus reads: the format, held strictly, and the numbers after real answers."""

from __future__ import annotations

import math
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from llmspell_jupyter.engine.prometheus import Counter, Family, Gauge, Histogram
from tests.support.engines import ECHO, SINGLY, SMOLLM2, RunningEngine, engine, wait_for

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"(?:,|$)')
_ESCAPE = re.compile(r"\\([\\\"n])")

Labels = frozenset[tuple[str, str]]


@dataclass
class Read:
    """A family as a reader sees it."""

    kind: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, name: str, **labels: str) -> float:
        """The one sample of this name that has these labels among its own."""
        found = [
            number
            for (each, given), number in self.samples.items()
            if each == name and labels.items() <= dict(given).items()
        ]
        assert len(found) == 1, (name, labels, self.samples)
        return found[0]


def _labels(text: str) -> Labels:
    pairs, place = [], 0
    while place < len(text):
        found = _LABEL.match(text, place)
        assert found, text
        value = _ESCAPE.sub(lambda each: {"n": "\n"}.get(each[1], each[1]), found[2])
        pairs.append((found[1], value))
        place = found.end()
    assert len({name for name, _ in pairs}) == len(pairs), text
    return frozenset(pairs)


def read(text: str) -> dict[str, Read]:
    """The families of a text; anything that the format does not allow fails."""
    assert text.endswith("\n")
    families: dict[str, Read] = {}
    lines = text.removesuffix("\n").split("\n")
    for number, line in enumerate(lines):
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert re.fullmatch(_NAME, name) and name not in families
            assert lines[number + 1].startswith(f"# TYPE {name} ")
            continue
        if line.startswith("# TYPE "):
            name, kind = line.split(" ")[2:]
            families[name] = family = Read(kind)
            continue
        found = _SAMPLE.fullmatch(line)
        assert found, line
        suffixes = {"histogram": ("_bucket", "_sum", "_count")}.get(family.kind, ("",))
        assert found[1] in [name + suffix for suffix in suffixes], line
        key = (found[1], _labels(found[2] or ""))
        assert key not in family.samples, line
        family.samples[key] = float(found[3])
    for name, family in families.items():
        if family.kind == "histogram":
            _check_histogram(name, family)
        if family.kind == "counter":
            assert name.endswith("_total") and min(family.samples.values(), default=0) >= 0
    return families


def _check_histogram(name: str, family: Read) -> None:
    series: dict[Labels, list[tuple[float, float]]] = {}
    for (each, labels), number in family.samples.items():
        if each == f"{name}_bucket":
            rest = dict(labels)
            bound = float(rest.pop("le"))
            series.setdefault(frozenset(rest.items()), []).append((bound, number))
    for labels, buckets in series.items():
        bounds, counts = zip(*buckets, strict=True)
        assert list(bounds) == sorted(set(bounds)) and bounds[-1] == math.inf
        assert list(counts) == sorted(counts)
        assert family.samples[f"{name}_count", labels] == counts[-1]
        assert (f"{name}_sum", labels) in family.samples


def scraped(running: RunningEngine) -> dict[str, Read]:
    response = running.http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = read(response.text)
    assert all(name.startswith("llmspell_") for name in families)
    return families


def outcomes(running: RunningEngine, **labels: str) -> dict[str, float]:
    """Requests with these labels by their outcome."""
    family = scraped(running)["llmspell_requests_total"]
    found: dict[str, float] = {}
    for (_, given), number in family.samples.items():
        if labels.items() <= dict(given).items():
            outcome = dict(given)["outcome"]
            found[outcome] = found.get(outcome, 0) + number
    return found


def test_real_answers_are_counted() -> None:
    started = time.time()
    with engine() as running:
        empty = scraped(running)
        assert not empty["llmspell_requests_total"].samples
        for text in ("one two three", "four five"):
            assert running.chat(text).status_code == 200
        running.http.post("/v1/embeddings", json={"model": ECHO, "input": ["a b", "c"]})
        assert running.chat("x", temperature=-1).status_code == 400, "is no request to a model"
        assert running.chat("x", model="wizard").status_code == 404
        families = scraped(running)
        echo = {"model": ECHO, "backend": "echo"}

        assert outcomes(running, kind="answer", **echo) == {"ok": 2}
        assert outcomes(running, kind="embedding", **echo) == {"ok": 1}
        assert outcomes(running, model="") == {"ModelNotFound": 1}
        for name, number in (("prompt", 8), ("completion", 5), ("cached", 0)):
            total = f"llmspell_{name}_tokens_total"
            assert families[total].value(total, **echo) == number
        first = families["llmspell_time_to_first_token_seconds"]
        assert first.value("llmspell_time_to_first_token_seconds_count", **echo) == 2
        seconds = first.value("llmspell_time_to_first_token_seconds_sum", **echo)
        assert 0 < seconds < 2 * (time.time() - started)
        speed = families["llmspell_completion_tokens_per_second"]
        assert speed.value("llmspell_completion_tokens_per_second_count", **echo) <= 2

        info = families["llmspell_engine_info"]
        assert info.value("llmspell_engine_info", version=running.connection.version) == 1
        uptime = "llmspell_engine_uptime_seconds"
        assert 0 <= families[uptime].value(uptime) <= time.time() - started + 2
        loaded = "llmspell_models_loaded"
        assert families[loaded].value(loaded, model=ECHO) == 1
        memory = "llmspell_model_resident_memory_bytes"
        worker = running.worker(ECHO)
        assert worker is not None
        assert families[memory].value(memory, model=ECHO) == pytest.approx(
            worker.memory_info().rss, rel=0.5
        )


def test_the_queue_and_what_is_cancelled() -> None:
    with engine() as running, ThreadPoolExecutor() as pool:
        with running.answering(llmspell=SINGLY):
            body = {"model": SMOLLM2, "prompt": "x", "max_tokens": 1, "llmspell": SINGLY}
            waiting = pool.submit(running.complete, **body)
            wait_for(lambda: _gauge(running, "llmspell_queue_waiting_requests") == 1)
            assert _gauge(running, "llmspell_running_requests") == 1
        assert waiting.result().status_code == 200
        wait_for(lambda: outcomes(running, model=SMOLLM2) == {"cancelled": 1, "ok": 1})
        assert _gauge(running, "llmspell_running_requests") == 0
        assert _gauge(running, "llmspell_queue_waiting_requests") == 0


def _gauge(running: RunningEngine, name: str) -> float:
    return scraped(running)[name].value(name, model=SMOLLM2)


def test_no_label_tells_who_asked() -> None:
    with engine() as running:
        running.http.headers["X-LLMSpell-Client"] = "somebody-in-particular"
        assert running.chat("a secret", user="nobody-else").status_code == 200
        assert running.chat("a secret", model="/home/private/x.gguf").status_code >= 400
        text = running.http.get("/metrics").text
        for told in ("somebody", "secret", "nobody", "private"):
            assert told not in text


def test_labels_are_escaped() -> None:
    name = 'a "quoted" \\ path\\n with\na line'
    counter = Counter("x_total", "Means\nthis \\ that.", ("model",))
    counter.add(name)
    counter.add("plain", number=2.5)
    family = read(counter.text())["x_total"]
    assert family.value("x_total", model=name) == 1
    assert family.value("x_total", model="plain") == 2.5


def test_the_number_of_series_is_bounded() -> None:
    counter = Counter("x_total", "X.", ("model", "backend"))
    histogram = Histogram("y_seconds", "Y.", ("model", "backend"), bounds=(1, 2))
    for number in range(2_000):
        counter.add(f"model-{number}", "echo")
        histogram.observe(f"model-{number}", "echo", number=1)
    for family, most in ((counter, 501), (histogram, 501 * 5)):
        samples = read(family.text())[family.name].samples
        assert len(samples) == most
    counter.add("model-0", "echo")
    counted = read(counter.text())["x_total"]
    assert counted.value("x_total", model="model-0") == 2
    assert counted.value("x_total", model="other") == 1_500


def test_buckets_hold_what_is_at_most_their_bound() -> None:
    histogram = Histogram("y_seconds", "Y.", ("model",), bounds=(0.5, 1, 2.5))
    for number in (0.1, 0.5, 0.7, 1, 2, 9):
        histogram.observe("m", number=number)
    family = read(histogram.text())["y_seconds"]
    buckets = {le: family.value("y_seconds_bucket", le=le) for le in ("0.5", "1", "2.5", "+Inf")}
    assert buckets == {"0.5": 2, "1": 4, "2.5": 5, "+Inf": 6}
    assert family.value("y_seconds_sum") == pytest.approx(13.3)


def test_empty_families_are_still_announced() -> None:
    families: list[Family] = [
        Counter("x_total", "X."),
        Gauge("g", "G.", samples={}),
        Histogram("h", "H.", (), bounds=(1,)),
    ]
    assert set(read("".join(each.text() for each in families))) == {"x_total", "g", "h"}
