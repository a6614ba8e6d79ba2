"""The last line of a pull: it says what that pull did, and always comes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import pulls
from tests.support.engines import runtime_folder, started
from tests.support.hub_server import hub
from tests.support.kernels import Notebook, notebook

NAME = pulls.REPOSITORY


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    with (
        hub() as server,
        runtime_folder(
            **server.environment, HF_HOME=str(tmp_path_factory.mktemp("hf"))
        ) as environment,
        started(environment),
        notebook(**environment) as made,
    ):
        server.add(NAME, pulls.files(), license="mit")
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
