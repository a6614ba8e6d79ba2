"""What a kernel puts out is kept for each execution as a notebook would hold it."""

from __future__ import annotations

from typing import Any

import pytest

from llmspell_jupyter.lab.executions import Execution
from llmspell_jupyter.lab.recorder import Recorder

BOOK, OTHER = "a session", "another session"


class Kernel:
    """Says what a kernel would say, to a recorder."""

    def __init__(self, **bounds: int):
        self.recorder = Recorder(**bounds)

    def say(self, execution: str, kind: str, **content: Any) -> bool:
        parent = {"msg_id": execution, "msg_type": "execute_request"}
        message = {"header": {"msg_type": kind}, "parent_header": parent, "content": content}
        return self.recorder.take(message)

    def begin(self, execution: str, code: str = "", count: int = 1) -> None:
        self.say(execution, "status", execution_state="busy")
        self.say(execution, "execute_input", code=code, execution_count=count)

    def write(self, execution: str, text: str, name: str = "stdout") -> None:
        self.say(execution, "stream", name=name, text=text)

    def show(
        self, execution: str, text: str, display: str = "", kind: str = "display_data"
    ) -> None:
        transient = {"display_id": display} if display else {}
        self.say(execution, kind, data={"text/plain": text}, metadata={}, transient=transient)

    def end(self, execution: str) -> None:
        self.say(execution, "status", execution_state="idle")

    def run(self, execution: str, cell: str, *texts: str) -> None:
        self.recorder.tell(execution, BOOK, cell)
        self.begin(execution)
        for each in texts:
            self.write(execution, each)
        self.end(execution)

    def of(self, cell: str = "c") -> Execution:
        (found,) = [each for each in self.recorder.of(BOOK) if each.cell == cell]
        return found

    def texts(self, cell: str = "c") -> list[str]:
        return [each.get("text") or each["data"]["text/plain"] for each in self.of(cell).outputs]


@pytest.fixture
def kernel() -> Kernel:
    """A kernel with one cell that runs."""
    made = Kernel()
    made.recorder.tell("m", BOOK, "c")
    made.begin("m", "print()", 7)
    return made


def test_states_of_an_execution() -> None:
    kernel = Kernel()
    kernel.recorder.tell("m", BOOK, "c")
    found = kernel.of()
    assert (found.running, found.over, found.count) == (False, False, None)
    kernel.begin("m", "1 + 1", 3)
    assert (found.running, found.over) == (True, False)
    assert (found.code, found.count) == ("1 + 1", 3)
    assert kernel.recorder.busy
    kernel.end("m")
    assert (found.running, found.over) == (False, True)
    assert not kernel.recorder.busy


def test_a_page_may_tell_later() -> None:
    kernel = Kernel()
    kernel.begin("m", "x")
    kernel.write("m", "1")
    assert list(kernel.recorder.of(BOOK)) == []
    kernel.recorder.tell("m", BOOK, "c")
    assert kernel.texts() == ["1"]


def test_streams_are_merged_while_they_follow_each_other(kernel: Kernel) -> None:
    for name, text in (("stdout", "1"), ("stdout", "2\r"), ("stderr", "3"), ("stdout", "4")):
        kernel.write("m", text, name)
    assert kernel.of().outputs == [
        {"output_type": "stream", "name": "stdout", "text": "12\r"},
        {"output_type": "stream", "name": "stderr", "text": "3"},
        {"output_type": "stream", "name": "stdout", "text": "4"},
    ]
    kernel.write("m", "5")
    assert kernel.texts()[-1] == "45", "after it was read, it goes on"


def test_other_outputs_are_as_in_a_file(kernel: Kernel) -> None:
    bundle = {"data": {"image/png": "iVBO"}, "metadata": {"image/png": {"width": 2}}}
    kernel.say("m", "display_data", **bundle, transient={})
    kernel.say("m", "execute_result", **bundle, execution_count=7)
    kernel.say("m", "error", ename="E", evalue="v", traceback=["t"], engine_info={})
    assert kernel.of().outputs == [
        {"output_type": "display_data", **bundle},
        {"output_type": "execute_result", **bundle, "execution_count": 7},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["t"]},
    ]


def test_clearing_at_once_and_with_the_next_output(kernel: Kernel) -> None:
    kernel.write("m", "1")
    kernel.say("m", "clear_output", wait=False)
    assert kernel.texts() == []
    kernel.write("m", "2")
    kernel.say("m", "clear_output", wait=True)
    assert kernel.texts() == ["2"]
    kernel.write("m", "3")
    assert kernel.texts() == ["3"]


def test_displays_are_replaced_wherever_they_are_shown(kernel: Kernel) -> None:
    kernel.show("m", "old", "d")
    kernel.write("m", "after")
    kernel.show("m", "new", "d", "update_display_data")
    assert kernel.texts() == ["new", "after"]
    kernel.end("m")
    kernel.recorder.tell("n", BOOK, "other")
    kernel.begin("n")
    kernel.show("n", "newer", "d")
    assert kernel.texts() == ["newer", "after"]
    assert kernel.texts("other") == ["newer"]
    before = kernel.of().sequence
    kernel.show("n", "newest", "d", "update_display_data")
    assert kernel.texts() == ["newest", "after"]
    assert kernel.of().sequence > before, "pages are told of it"
    kernel.say("n", "clear_output", wait=False)
    kernel.show("n", "gone", "d", "update_display_data")
    assert kernel.texts("other") == []


def test_outputs_that_a_widget_catches_are_not_of_the_cell(kernel: Kernel) -> None:
    def comm(kind: str, comm_id: str, **state: str) -> None:
        kernel.say("m", kind, comm_id=comm_id, data={"method": "update", "state": state})

    comm("comm_open", "slider", _model_module="@jupyter-widgets/controls", msg_id="")
    comm("comm_msg", "slider", msg_id="m")
    comm("comm_open", "output", _model_module="@jupyter-widgets/output", msg_id="")
    kernel.write("m", "before ")
    comm("comm_msg", "output", msg_id="m")
    kernel.write("m", "inside ")
    kernel.say("m", "clear_output", wait=False)
    comm("comm_msg", "output", msg_id="")
    kernel.write("m", "after")
    assert kernel.texts() == ["before after"]


def test_what_comes_after_the_end_is_kept(kernel: Kernel) -> None:
    kernel.end("m")
    kernel.write("m", "from a thread")
    assert kernel.texts() == ["from a thread"]
    assert kernel.of().over


def test_of_a_cell_the_last_execution_counts(kernel: Kernel) -> None:
    kernel.write("m", "1")
    kernel.recorder.tell("n", BOOK, "c")
    assert {each.id for each in kernel.recorder.of(BOOK)} == {"m", "n"}, "n waits"
    kernel.end("m")
    kernel.begin("n")
    kernel.write("n", "2")
    assert kernel.of().id == "n"
    assert kernel.texts() == ["2"]


def test_the_last_counts_even_if_it_is_told_late(kernel: Kernel) -> None:
    kernel.end("m")
    kernel.begin("n")
    kernel.end("n")
    kernel.recorder.tell("n", BOOK, "c")
    assert kernel.of().id == "n"


def test_refused_executions_leave_nothing(kernel: Kernel) -> None:
    kernel.write("m", "1")
    kernel.end("m")
    kernel.recorder.tell("n", BOOK, "c")
    kernel.say("n", "status", execution_state="busy")
    kernel.end("n")
    assert kernel.of().id == "m"


def test_half_an_execution_is_not_shown() -> None:
    kernel = Kernel()
    kernel.write("m", "its beginning was missed")
    kernel.recorder.tell("m", BOOK, "c")
    kernel.write("m", "more")
    kernel.end("m")
    assert list(kernel.recorder.of(BOOK)) == []


def test_a_restart_ends_what_runs_and_what_waits(kernel: Kernel) -> None:
    kernel.recorder.tell("n", BOOK, "other")
    kernel.write("m", "1")
    kernel.recorder.restarted()
    assert [each.id for each in kernel.recorder.of(BOOK)] == ["m"]
    assert kernel.of().over
    assert kernel.texts() == ["1"]
    assert not kernel.recorder.busy


def test_forgetting(kernel: Kernel) -> None:
    kernel.recorder.forget(BOOK, ["m"])
    assert kernel.of().id == "m", "what runs is not forgotten"
    kernel.end("m")
    kernel.recorder.forget(OTHER, ["m", "unknown"])
    assert kernel.of().id == "m"
    kernel.recorder.forget(BOOK, ["m"])
    assert list(kernel.recorder.of(BOOK)) == []


def test_a_cell_is_cleared(kernel: Kernel) -> None:
    kernel.run("n", "other", "2")
    kernel.write("m", "1")
    before = kernel.recorder.sequence
    kernel.recorder.clear(BOOK, "c")
    assert kernel.recorder.sequence > before, "pages are told of it"
    assert kernel.of().outputs == []
    kernel.write("m", "more")
    assert kernel.texts() == ["more"], "it goes on"
    kernel.end("m")
    kernel.recorder.tell("later", BOOK, "c")
    kernel.recorder.clear(OTHER, "c")
    assert {each.id for each in kernel.recorder.of(BOOK)} == {"m", "n", "later"}
    kernel.recorder.clear(BOOK, "c")
    assert {each.id for each in kernel.recorder.of(BOOK)} == {"n", "later"}, "later is to come"


def test_notebooks_that_share_a_kernel(kernel: Kernel) -> None:
    kernel.end("m")
    kernel.recorder.tell("n", OTHER, "c")
    kernel.begin("n")
    assert kernel.of().id == "m", "a copy of a notebook has cells of the same ids"
    assert [each.id for each in kernel.recorder.of(OTHER)] == ["n"]


def test_sequence_grows_with_every_change(kernel: Kernel) -> None:
    recorder = kernel.recorder
    seen = [recorder.sequence]
    kernel.write("m", "1")
    seen.append(recorder.sequence)
    kernel.end("m")
    seen.append(recorder.sequence)
    recorder.forget(BOOK, ["m"])
    seen.append(recorder.sequence)
    assert seen == sorted(set(seen))
    assert not kernel.say("unknown", "stream", name="stdout", text="x")
    assert recorder.sequence == seen[-1]


def test_other_requests_are_ignored() -> None:
    recorder = Recorder()
    for parent in ({}, None, {"msg_id": "k", "msg_type": "kernel_info_request"}):
        content = {"execution_state": "busy"}
        header = {"msg_type": "status"}
        assert not recorder.take({"header": header, "parent_header": parent, "content": content})
    assert recorder.sequence == 0


def test_the_number_of_executions_is_bounded() -> None:
    kernel = Kernel(executions=3)
    for number in range(3):
        kernel.run(f"m{number}", f"c{number}", "x")
    kernel.begin("nobody's")
    kernel.end("nobody's")
    assert [each.cell for each in kernel.recorder.of(BOOK)] == ["c0", "c1", "c2"]
    kernel.run("m3", "c3", "x")
    assert [each.cell for each in kernel.recorder.of(BOOK)] == ["c1", "c2", "c3"]


def test_the_memory_is_bounded() -> None:
    kernel = Kernel(size=10_000)
    kernel.run("m0", "c0", "x" * 6_000)
    kernel.recorder.tell("m1", BOOK, "c1")
    kernel.begin("m1")
    for _ in range(20):
        kernel.write("m1", "y" * 1_000)
    assert [each.cell for each in kernel.recorder.of(BOOK)] == ["c1"]
    kept, said = kernel.texts("c1")
    assert 8_000 <= len(kept) <= 10_000
    assert "not kept" in said
    kernel.write("m1", "z")
    assert kernel.texts("c1") == [kept, said], "nothing is left out in the middle"
    kernel.say("m1", "clear_output", wait=False)
    kernel.write("m1", "z")
    assert kernel.texts("c1") == ["z"]


def test_updates_do_not_add_up() -> None:
    kernel = Kernel(size=10_000)
    kernel.recorder.tell("m", BOOK, "c")
    kernel.begin("m")
    kernel.show("m", "", "d")
    for _ in range(100):
        kernel.show("m", "x" * 1_000, "d", "update_display_data")
    kernel.write("m", "end")
    assert kernel.texts()[1:] == ["end"]
