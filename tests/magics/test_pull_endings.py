"""The last line of a pull: it says what that pull did, and always comes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import pulls
from tests.support.engines import runtime_folder, started
from tests.support.hub_server import hub
from tests.support.kernels import Notebook, notebook

NAME = pulls.REPOSITORY


#: The other model comes slowly.
SLOW = "owner/slow"
SLOW_KEY = f"{SLOW}/{pulls.WEIGHTS}"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with (
        hub() as server,
        runtime_folder(**server.environment, HF_HOME=str(tmp_path_factory.mktemp("hf"))) as made,
        started(made),
    ):
        server.add(NAME, pulls.files(), license="mit")
        server.add(SLOW, pulls.files(seed=1), license="mit")
        server.fault(SLOW_KEY, "drip", bytes_per_second=20_000)
        yield made


@pytest.fixture(scope="module")
def book(environment: dict[str, str]) -> Iterator[Notebook]:
    with notebook(**environment) as made:
        yield made


@pytest.fixture(scope="module")
def live_book(environment: dict[str, str]) -> Iterator[Notebook]:
    """With bars."""
    with notebook(**{**environment, "LLMSPELL_RENDER": "auto"}) as made:
        yield made


def _last_line(book: Notebook, source: str) -> str:
    return book.good(source).stdout.splitlines()[-1]


def test_a_check_that_never_began_leaves_no_words_for_a_pull(book: Notebook) -> None:
    assert book.run("%model_verify x@nowhere").error == "InvalidModelSpec"
    pulled = f"%%lua\nLocalLLM.pull('hf.co/{NAME}')"
    assert _last_line(book, pulled) == f"{NAME} · complete"
    assert " is whole: " in _last_line(book, f"%model_verify {NAME}")
    assert _last_line(book, pulled) == f"{NAME} · complete"


def test_a_check_that_fails_leaves_no_words_for_a_pull(book: Notebook) -> None:
    assert book.run("%model_verify wizard").error == "ModelNotFound"
    pulled = f"%%lua\nLocalLLM.pull('hf.co/{NAME}')"
    assert _last_line(book, pulled) == f"{NAME} · complete"


def _hold(scope: str) -> str:
    """A script that ends in the middle of a pull."""
    return f"""%%lua
{scope} more = coroutine.wrap(function()
  LocalLLM.pull("hf.co/{SLOW}", coroutine.yield)
end)
repeat p = more() until p.bytes_downloaded > 0"""


def _until_said(book: Notebook, said: dict[str, str]) -> str:
    """Read on until some message says this; the cell that it belongs to."""
    while True:
        message = book.client.get_iopub_msg(timeout=30)
        content = message["content"]
        if said in (content.get("data"), {"text/plain": content.get("text")}):
            return str(message["parent_header"]["msg_id"])


def test_a_pull_that_a_script_drops_is_said_to_have_stopped(
    book: Notebook, live_book: Notebook
) -> None:
    """Its cell is over then: the line comes by itself."""
    request = book.begin(_hold("local"))
    assert _until_said(book, {"text/plain": f"{SLOW} · stopped\n"}) == request
    request = live_book.begin(_hold("local"))
    assert _until_said(live_book, {"text/plain": f"{SLOW} · stopped"}) == request


def test_a_pull_that_a_reset_ends_is_said_to_have_stopped(
    book: Notebook, live_book: Notebook
) -> None:
    book.good(_hold(""))
    request = book.begin("%llmspell_reset")
    assert _until_said(book, {"text/plain": f"{SLOW} · stopped\n"}) == request
    live_book.good(_hold(""))
    live_book.begin("%llmspell_reset")
    _until_said(live_book, {"text/plain": f"{SLOW} · stopped"})
