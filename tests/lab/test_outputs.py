"""The routes of a real Jupyter Server keep what real kernels put out."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from jupyter_client import BlockingKernelClient
from jupyter_core.paths import jupyter_runtime_dir

from tests.support import jupyter_servers
from tests.support.engines import PATIENCE, wait_for
from tests.support.jupyter_servers import ROOT, Server

BOOK, OTHER = "a session", "another session"


class Kernel:
    """A kernel of the server, and a client that reaches it without the server."""

    def __init__(self, http: httpx.Client):
        self.http = http
        self.id = http.post("api/kernels", json={"name": "python3"}).json()["id"]
        self.client = BlockingKernelClient()
        self.client.load_connection_file(str(Path(jupyter_runtime_dir(), f"kernel-{self.id}.json")))
        self.client.start_channels(hb=False)
        self.client.kernel_info(reply=True, timeout=PATIENCE)

    @property
    def url(self) -> str:
        return f"{ROOT}/streams/{self.id}"

    def post(self, name: str, /, **body: Any) -> httpx.Response:
        answer = self.http.post(f"{self.url}/{name}", json=body)
        assert answer.status_code == 200, answer.text
        return answer

    def start(self, code: str, cell: str) -> str:
        """Run a cell as a page does; the execution's id."""
        execution: str = self.client.execute(code)
        self.post("tell", session=BOOK, executions=[[execution, cell]])
        return execution

    def list(self, **query: Any) -> dict[str, Any]:
        answer = self.http.get(self.url, params={"session": BOOK, **query})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def follow(self, execution: str) -> Iterator[dict[str, Any]]:
        """What a page is told of an execution, from now to its end."""
        after = 0
        while True:
            told = self.list(after=after, wait=10)
            after = told["sequence"]
            for each in told["executions"]:
                if each["id"] == execution:
                    yield each
                    if each["state"] == "over":
                        return

    def end(self, execution: str) -> dict[str, Any]:
        *_, last = self.follow(execution)
        return last

    def close(self) -> None:
        self.client.stop_channels()
        self.http.delete(f"api/kernels/{self.id}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with jupyter_servers.server(
        tmp_path_factory.mktemp("server"), os.environ, base="/user/x/"
    ) as made:
        yield made
        said = made.log.read_text()
        assert "llmspell_jupyter/lab" not in said, said


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """Carries the token; paths are below the server's base path."""
    headers = {"Authorization": f"token {server.token}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def kernel(http: httpx.Client) -> Iterator[Kernel]:
    """A kernel that is kept."""
    made = Kernel(http)
    made.post("keep")
    yield made
    made.close()


STREAM = """
import time
for number in range(50):
    print("word", number, flush=True)
    time.sleep(0.01)
"""

WORDS = "".join(f"word {number}\n" for number in range(50))


def test_an_execution_is_followed_to_its_end(kernel: Kernel) -> None:
    execution = kernel.start(STREAM, "c")
    texts = []
    for told in kernel.follow(execution):
        texts.append("".join(each["text"] for each in told["outputs"]))
    assert told["code"] == STREAM
    assert isinstance(told["count"], int)
    assert texts[-1] == WORDS
    assert all(WORDS.startswith(each) for each in texts)
    assert len(set(texts)) > 1, "it is told while it runs"


def test_every_kind_of_output(kernel: Kernel) -> None:
    code = """
from IPython.display import display, clear_output
print("gone"); clear_output()
handle = display({"text/plain": "old"}, raw=True, display_id=True)
print("between")
handle.update({"text/plain": "new"}, raw=True)
1 / 0
"""
    outputs = kernel.end(kernel.start(code, "c"))["outputs"]
    assert [each["output_type"] for each in outputs] == ["display_data", "stream", "error"]
    assert outputs[0]["data"] == {"text/plain": "new"}
    assert outputs[1]["text"] == "between\n"
    assert outputs[2]["ename"] == "ZeroDivisionError"
    value = kernel.end(kernel.start("6 * 7", "d"))
    assert value["outputs"] == [
        {
            "output_type": "execute_result",
            "data": {"text/plain": "42"},
            "metadata": {},
            "execution_count": value["count"],
        }
    ]


def test_an_output_widget_keeps_what_it_catches(kernel: Kernel) -> None:
    code = """
import ipywidgets
out = ipywidgets.Output()
with out:
    print("inside")
print("outside")
"""
    assert [each["text"] for each in kernel.end(kernel.start(code, "c"))["outputs"]] == [
        "outside\n"
    ]


def test_a_fast_writer_loses_nothing(kernel: Kernel) -> None:
    code = "for number in range(5_000): print(number, flush=True)"
    (output,) = kernel.end(kernel.start(code, "c"))["outputs"]
    assert output["text"] == "".join(f"{number}\n" for number in range(5_000))


def test_what_waits_after_an_error_is_refused(kernel: Kernel) -> None:
    first = kernel.start("import time; time.sleep(0.2); 1 / 0", "c")
    second = kernel.start("print('never')", "d")
    assert {each["state"] for each in kernel.list()["executions"]} <= {"running", "waiting"}
    assert kernel.end(first)["outputs"][0]["output_type"] == "error"
    wait_for(lambda: second not in kernel.list()["known"])


def test_waiting_for_news_ends_by_itself(kernel: Kernel) -> None:
    kernel.end(kernel.start("1", "c"))
    sequence = kernel.list()["sequence"]
    started = time.monotonic()
    assert kernel.list(after=sequence, wait=0.3)["sequence"] == sequence
    assert 0.3 <= time.monotonic() - started < 5
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(kernel.list, after=sequence, wait=10)
        kernel.start("1", "c")
        assert waiting.result(PATIENCE)["sequence"] > sequence


def test_a_restart_ends_what_runs(kernel: Kernel) -> None:
    endless = "import time\nprint('here', flush=True)\ntime.sleep(600)"
    execution = kernel.start(endless, "c")
    kernel.start("1", "d")
    wait_for(lambda: any(each["outputs"] for each in kernel.list()["executions"]))
    assert kernel.list()["busy"]
    assert kernel.http.post(f"api/kernels/{kernel.id}/restart").status_code == 200
    assert kernel.end(execution)["outputs"][0]["text"] == "here\n"
    wait_for(lambda: all(each["state"] == "over" for each in kernel.list()["executions"]))
    assert not kernel.list()["busy"]
    kernel.client.kernel_info(reply=True, timeout=PATIENCE)
    kernel.post("keep")
    assert kernel.end(kernel.start("print('again')", "c"))["outputs"][0]["text"] == "again\n"


def test_a_kernel_that_dies_ends_what_runs(kernel: Kernel) -> None:
    code = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)"
    execution = kernel.start(code, "c")
    told = next(each for each in kernel.follow(execution) if each["outputs"])
    os.kill(int(told["outputs"][0]["text"]), signal.SIGKILL)
    assert kernel.end(execution)["outputs"] == told["outputs"]


def test_a_kernel_that_is_shut_down_is_kept_no_longer(http: httpx.Client) -> None:
    kernel = Kernel(http)
    kernel.post("keep")
    kernel.start("print(1)", "c")
    kernel.close()
    wait_for(lambda: kernel.list()["sequence"] == 0)


def test_forgetting(kernel: Kernel) -> None:
    execution = kernel.start("1", "c")
    kernel.end(execution)
    kernel.post("forget", session=OTHER, executions=[execution])
    assert kernel.list(session=OTHER)["known"] == []
    assert kernel.list()["known"] == [execution]
    kernel.post("forget", session=BOOK, executions=[execution])
    assert kernel.list()["known"] == []


def test_a_cell_is_cleared(kernel: Kernel) -> None:
    kernel.end(kernel.start("1", "c"))
    other = kernel.start("2", "d")
    kernel.end(other)
    kernel.post("clear", session=BOOK, cells=["c"])
    assert kernel.list()["known"] == [other]


def test_kernels_that_nobody_keeps(http: httpx.Client) -> None:
    unknown = f"{ROOT}/streams/{uuid.uuid4()}"
    empty = {"sequence": 0, "busy": False, "known": [], "executions": []}
    assert http.get(unknown, params={"session": BOOK}).json() == empty
    answer = http.post(f"{unknown}/keep")
    assert answer.status_code == 404
    assert answer.json()["type"] == "KernelNotFound"
    assert answer.json()["hint"]
    assert (
        http.post(f"{unknown}/forget", json={"session": BOOK, "executions": []}).status_code == 200
    )


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("tell", {}),
        ("tell", {"session": BOOK, "executions": [["m", 3]]}),
        ("tell", {"session": BOOK, "executions": ["mm"]}),
        ("tell", {"session": "x" * 5000, "executions": []}),
        ("forget", {"session": BOOK}),
        ("forget", {"session": BOOK, "executions": "m"}),
        ("clear", {"session": BOOK, "cells": [3]}),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value)[:40],
)
def test_bad_requests(kernel: Kernel, name: str, body: dict[str, Any]) -> None:
    answer = kernel.http.post(f"{kernel.url}/{name}", json=body)
    assert answer.status_code == 400
    assert answer.json()["type"] == "RequestError"


def test_bad_numbers(kernel: Kernel) -> None:
    for query in ("after=x", "after=-1", "wait=nan", "wait=1e300"):
        assert kernel.http.get(f"{kernel.url}?session=a&{query}").status_code == 400


def test_only_who_may_ask(kernel: Kernel) -> None:
    with httpx.Client(base_url=kernel.http.base_url) as bare:
        assert bare.get(kernel.url).status_code == 403
        for name in ("keep", "tell", "forget", "clear"):
            assert bare.post(f"{kernel.url}/{name}", json={}).status_code == 403
