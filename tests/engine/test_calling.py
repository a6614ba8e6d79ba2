"""Waiting for the engine on any thread."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from llmspell_jupyter.engine import calling


class Narrow(Future[int]):
    """Done just after a turn of waiting for it has run out."""

    def result(self, timeout: float | None = None) -> int:
        try:
            return super().result(timeout)
        except TimeoutError:
            self.set_result(7)
            raise


def test_an_answer_that_comes_between_two_turns_is_the_answer() -> None:
    future = Narrow()
    late = threading.Timer(2 * calling.TURN_SECONDS, future.set_result, [7])
    late.start()
    try:
        assert calling._result(future) == 7
    finally:
        late.cancel()
