"""Many notebooks before one model: each gets its own text (E1), its share, and one copy serves all."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from llmspell_jupyter.models import store
from tests.support.engines import SMOLLM2, RunningEngine, attach, runtime_folder, started, wait_for
from tests.support.kernels import Notebook, notebook
from tests.support.tiny_gguf import write_tiny_gguf

KERNELS = 10
EACH = 20
TOKENS = 8
SYSTEM = "You are a helpful assistant."

TOPICS = (
    "gravity",
    "whales",
    "bread",
    "music",
    "winter",
    "rivers",
    "iron",
    "maps",
    "bees",
    "glass",
)
PROMPTS = [f"{verb} {topic}." for verb in ("Describe", "Explain") for topic in TOPICS]

# From the step on at which the lone answer could almost as well have taken another token, a text
# may go another way: sums over a batch are rounded in another order.
CLOSE = 0.5

# An agent of its own for each prompt: one remembers what it was asked.
ASK = """%%lua
for _, prompt in ipairs(JSON.parse([==[{prompts}]==])) do
  local agent = Agent.builder():provider("candle"):model("{model}"):system_prompt("{system}")
    :temperature(0):repeat_penalty(1):max_tokens({tokens}):build()
  print(JSON.stringify({{prompt, agent:execute({{text = prompt}}).text}}))
end
"""


@contextmanager
def notebooks(count: int, environment: dict[str, str]) -> Iterator[list[Notebook]]:
    """Kernels that share an engine."""
    with ExitStack() as stack:
        yield [stack.enter_context(notebook(**environment)) for _ in range(count)]


def alone(running: RunningEngine, prompt: str) -> tuple[str, bool]:
    """What a request gets that has the model for itself.

    Returns:
        Its text up to the first close choice, and whether that is all of it.
    """
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
    answer = running.http.post(
        "/v1/chat/completions",
        json={
            "model": SMOLLM2,
            "messages": messages,
            "temperature": 0,
            "repeat_penalty": 1,
            "max_tokens": TOKENS,
            "logprobs": True,
            "top_logprobs": 2,
        },
    ).json()["choices"][0]
    sure = b""
    for step in answer["logprobs"]["content"]:
        first, second = step["top_logprobs"]
        if first["logprob"] - second["logprob"] < CLOSE:
            return sure.decode("utf-8", "ignore"), False
        sure += bytes(step["bytes"])
    return answer["message"]["content"], True


def test_ten_kernels_get_what_each_would_get_alone(tmp_path: Path) -> None:
    draw = random.Random(3)
    with runtime_folder() as environment, notebooks(KERNELS, environment) as books:
        books[0].good("%model_load smollm2:135m")
        running = wait_for(lambda: attach(environment))
        expected = {prompt: alone(running, prompt) for prompt in PROMPTS}
        # What was read for these is forgotten.
        books[0].good("%model_unload smollm2:135m")

        def ask(book: Notebook) -> str:
            prompts = json.dumps(draw.sample(PROMPTS, EACH))
            source = ASK.format(prompts=prompts, model=SMOLLM2, system=SYSTEM, tokens=TOKENS)
            return book.begin(source)

        cells = [(book, ask(book)) for book in books]
        outputs = [book.finish(cell) for book, cell in cells]
        given = [json.loads(line) for each in outputs for line in each.stdout.splitlines()]
        (worker,) = running.status()["workers"]
        readers = [pid for pid in _pids(running, books) if _maps(pid, SMOLLM2)]
        running.http.close()
    assert len(given) == KERNELS * EACH, outputs
    for prompt, text in given:
        sure, whole = expected[prompt]
        assert text == sure if whole else text.startswith(sure), (prompt, sure, text)
    told_apart = {sure for sure, _ in expected.values() if len(sure) > 8}
    assert len(told_apart) > len(PROMPTS) / 2
    assert worker["batched_decode_calls"] > 0.5 * worker["decode_calls"]
    assert readers == [worker["pid"]]


def _pids(running: RunningEngine, books: list[Notebook]) -> list[int]:
    kernels = [book.manager.provisioner.pid for book in books]
    return [each.pid for each in running.family()] + kernels


def _maps(pid: int, model: str) -> bool:
    path = str(store.resolve(model).path.resolve())
    return any(each.path == path for each in psutil.Process(pid).memory_maps())


def test_who_sends_fifty_requests_gets_no_more_than_the_29_others(tmp_path: Path) -> None:
    model = str(write_tiny_gguf(tmp_path / "tiny.gguf", context=256))
    work = {f"kernel {number}": 8 for number in range(29)} | {"greedy": 50}
    variables = {
        "LLMSPELL_ENGINE_QUEUE_LIMIT": "300",
        "LLMSPELL_ENGINE_CLIENT_QUEUE_LIMIT": "64",
    }
    with runtime_folder(**variables) as environment, started(environment) as running:
        shares = asyncio.run(_shares(running, model, work))
    assert len(shares) == 30 and min(shares) > 100
    assert sum(shares) ** 2 / (30 * sum(each**2 for each in shares)) >= 0.95, shares


async def _shares(running: RunningEngine, model: str, work: dict[str, int]) -> list[int]:
    """Tokens of each client, as long as all have requests that wait."""
    draw = random.Random(5)
    shares: list[int] = []
    local = httpx.AsyncHTTPTransport(uds=running.connection.address, limits=httpx.Limits())
    async with httpx.AsyncClient(
        base_url=running.connection.url,
        transport=local,
        headers={"Authorization": f"Bearer {running.connection.token}"},
        timeout=120,
    ) as http:

        async def ask(client: str, words: int) -> None:
            prompt = "".join(draw.choices("abcdefgh", k=words))
            body = {"model": model, "prompt": prompt, "max_tokens": words}
            answer = await http.post(
                "/v1/completions", json=body, headers={"X-LLMSpell-Client": client}
            )
            assert answer.status_code == 200, answer.text

        async def queue() -> dict[str, Any]:
            workers = (await http.get("/api/status")).json()["workers"]
            return workers[0]["queue"] if workers else {"waiting": 0, "clients": []}

        await ask("first", 1)
        worker = running.worker(model)
        assert worker is not None
        worker.suspend()
        asked = [
            asyncio.create_task(ask(client, draw.randint(20, 120)))
            for turn in range(max(work.values()))
            for client, count in work.items()
            if turn < count
        ]
        while (await queue())["waiting"] < len(asked) - 8:
            pass
        worker.resume()
        while True:
            clients = {each["client"]: each for each in (await queue())["clients"]}
            if not all(name in clients and clients[name]["waiting"] for name in work):
                break
            shares = [clients[name]["tokens"] for name in work]
        await asyncio.gather(*asked)
    return shares
