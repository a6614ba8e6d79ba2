"""A page that opens the comm hears of the profile, and can change it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.kernels import CELL_SECONDS, Notebook, notebook

TARGET = "llmspell-jupyter"
COMM = "a-page"


@pytest.fixture
def loaded() -> Iterator[Notebook]:
    with notebook() as made:
        made.good("%load_ext llmspell_jupyter")
        yield made


def say(book: Notebook, kind: str, **content: Any) -> str:
    message = book.client.session.msg(kind, {"comm_id": COMM, "data": {}} | content)
    book.client.shell_channel.send(message)
    return str(message["header"]["msg_id"])


def answers(book: Notebook, request: str) -> list[dict[str, Any]]:
    """What the kernel tells the page on account of a request."""
    found = []
    while True:
        message = book.client.get_iopub_msg(timeout=CELL_SECONDS)
        if message["parent_header"].get("msg_id") != request:
            continue
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return found
        if message["msg_type"].startswith("comm_"):
            found.append(message["content"])
        else:
            assert message["msg_type"] in ("status", "execute_input", "stream"), message


def open_page(book: Notebook) -> dict[str, Any]:
    [told] = answers(book, say(book, "comm_open", target_name=TARGET))
    data: dict[str, Any] = told["data"]
    return data


def test_page_hears_of_profile_and_of_those_there_are(loaded: Notebook) -> None:
    told = open_page(loaded)
    assert told["profile"] == "candle"
    assert told["about"] == "Profile candle · provider candle · model smollm2:135m"
    assert [each["name"] for each in told["profiles"]][:2] == ["minimal", "development"]
    assert all(each["about"] for each in told["profiles"])


def test_page_hears_of_changes_by_cells_once(loaded: Notebook) -> None:
    open_page(loaded)
    [told] = answers(loaded, loaded.begin("%llmspell_profile minimal"))
    assert told["data"]["profile"] == "minimal"
    assert answers(loaded, loaded.begin("%llmspell_profile minimal")) == []
    [told] = answers(loaded, loaded.begin("%config LLMSpell.profile = 'ollama'"))
    assert told["data"]["profile"] == "ollama"


def test_page_switches(loaded: Notebook) -> None:
    open_page(loaded)
    loaded.good("%lua kept = 1")
    [told] = answers(loaded, say(loaded, "comm_msg", data={"use": "ollama"}))
    assert (told["data"]["profile"], "error" in told["data"]) == ("ollama", False)
    assert loaded.good("%llmspell_profile").stdout.startswith("Profile ollama")
    assert loaded.value("%lua kept") == "1"


def test_refused_switch_is_told_and_changes_nothing(loaded: Notebook) -> None:
    open_page(loaded)
    [told] = answers(loaded, say(loaded, "comm_msg", data={"use": "candel"}))
    assert told["data"]["profile"] == "candle"
    assert told["data"]["error"]["type"] == "UnknownProfile"
    assert told["data"]["error"]["hint"] == "Type: %llmspell_profile candle"


@pytest.mark.parametrize("data", [{}, {"use": 3}, {"other": "minimal"}, "minimal", None, []])
def test_nonsense_harms_nothing(loaded: Notebook, data: Any) -> None:
    open_page(loaded)
    answers(loaded, say(loaded, "comm_msg", data=data))
    assert loaded.good("%llmspell_profile").stdout.startswith("Profile candle")


def test_nothing_is_sent_without_a_page_or_after_it_left(loaded: Notebook) -> None:
    assert answers(loaded, loaded.begin("%llmspell_profile minimal")) == []
    open_page(loaded)
    answers(loaded, say(loaded, "comm_close"))
    assert answers(loaded, loaded.begin("%llmspell_profile candle")) == []


def test_pages_that_left_without_a_word_are_forgotten(loaded: Notebook) -> None:
    for number in range(40):
        answers(loaded, say(loaded, "comm_open", target_name=TARGET, comm_id=f"page-{number}"))
    told = answers(loaded, loaded.begin("%llmspell_profile minimal"))
    assert [each["comm_id"] for each in told] == [f"page-{number}" for number in range(24, 40)]


def test_page_is_told_when_the_configuration_is_wrong() -> None:
    with notebook(LLMSPELL_PROFILE="candel") as book:
        book.good("%load_ext llmspell_jupyter")
        told = open_page(book)
        assert told["profile"] == ""
        assert "candel" in told["about"]
        assert book.good("1 + 1").value == "2"
        [told] = answers(book, say(book, "comm_msg", data={"use": "minimal"}))
        assert told["data"]["error"]["type"] == "UnknownProfile"


def test_loading_imports_nothing_for_pages(loaded: Notebook) -> None:
    assert loaded.value("'llmspell_jupyter.magics.page' in __import__('sys').modules") == "False"
    open_page(loaded)
    assert loaded.value("'llmspell_jupyter.magics.page' in __import__('sys').modules") == "True"
