"""Two users read nothing of each other (E8): each has an engine, a worker and a memory of its own."""

from __future__ import annotations

from tests.support.engines import SMOLLM2, RunningEngine, engine

SECRET = "My number is 4711 and nobody else may know it. " * 8


def cached(running: RunningEngine, prompt: str) -> int:
    """Tokens of a prompt that the engine had read before."""
    answer = running.complete(model=SMOLLM2, prompt=prompt, max_tokens=1).json()
    return int(answer["llmspell"]["metadata"]["cached_tokens"])


def test_what_one_has_asked_is_not_there_for_the_other() -> None:
    with engine() as one, engine() as other:
        assert cached(one, SECRET + "One") == 0
        assert cached(one, SECRET + "Two") > 80
        assert cached(other, SECRET + "One") == 0
        assert one.worker(SMOLLM2) != other.worker(SMOLLM2)


def test_what_one_asks_cannot_be_cancelled_by_the_other() -> None:
    with engine() as one, engine() as other, one.answering() as answer:
        (job,) = one.jobs()
        said = other.http.post(f"/api/jobs/{job['id']}/cancel").json()
        assert said == {"cancelled": False}
        assert other.jobs() == []
        token = other.connection.token
        with one.client(Authorization=f"Bearer {token}") as foreign:
            assert foreign.post(f"/api/jobs/{job['id']}/cancel").status_code == 401
            assert foreign.get("/api/status").status_code == 401
        assert next(answer)["choices"]
