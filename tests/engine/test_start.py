"""Starting an engine: one for each user, whatever was left behind and however many ask (E7)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from llmspell_jupyter.engine import connection as connections
from llmspell_jupyter.engine import serve, start
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.engine.connection import PROTOCOL, Connection
from llmspell_jupyter.errors import EngineUnavailable
from llmspell_jupyter.types import Completion, GenerationRequest
from tests.support.engines import (
    ECHO,
    PATIENCE,
    RunningEngine,
    attach,
    connection_file,
    engine,
    gone_within,
    in_this_process,
    jupyter_llmspell,
    python,
    runs,
    runtime_folder,
    started,
    wait_for,
)

ASK = """
import sys
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.types import GenerationRequest
client = EngineClient()
sys.stdin.readline()
*_, completion = client.generate(GenerationRequest("echo", prompt="hello"))
assert completion.text == "hello"
print(client.status()["pid"])
"""


def engines_of(environment: dict[str, str]) -> list[psutil.Process]:
    """All engine processes that use this runtime folder."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if "llmspell_jupyter.engine" not in line and "serve" not in line:
                continue
            if process.environ().get("JUPYTER_RUNTIME_DIR") == environment["JUPYTER_RUNTIME_DIR"]:
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if runs(process)]


def rush(environment: dict[str, str], count: int = 10) -> None:
    """Many processes ask at the same moment, with no engine there."""
    with ExitStack() as stack:
        environment = environment | {"JPY_PARENT_PID": str(os.getpid())}
        askers = [
            stack.enter_context(python(environment, "-c", ASK, stdin=-1)) for _ in range(count)
        ]
        for asker in askers:
            assert asker.stdin is not None
            asker.stdin.write("\n")
            asker.stdin.flush()
        answers = [asker.communicate(timeout=60) for asker in askers]
    assert [asker.returncode for asker in askers] == [0] * count, answers
    pids = {int(output) for output, _ in answers}
    assert len(pids) == 1
    assert [process.pid for process in engines_of(environment)] == list(pids)


def test_ten_processes_start_one_engine() -> None:
    with runtime_folder() as environment:
        rush(environment)


def test_ten_processes_start_one_engine_after_a_killed_one() -> None:
    with runtime_folder() as environment:
        with started(environment) as first:
            family = first.family()
            first.process.kill()
            assert gone_within(family, PATIENCE)
        assert connection_file(environment).exists()
        rush(environment)


STARTER = """
import sys
from llmspell_jupyter.engine.client import EngineClient
client = EngineClient()
for line in sys.stdin:
    try:
        print(client.status(start_engine=True)["pid"], flush=True)
    except Exception as error:
        print(repr(error), flush=True)
"""


def _ends(last: RunningEngine) -> None:
    last.process.terminate()


def _is_killed(last: RunningEngine) -> None:
    last.process.kill()


def _is_killed_and_its_file_lost(last: RunningEngine) -> None:
    last.process.kill()
    connection_file(last.environment).unlink()


def _is_killed_and_its_file_damaged(last: RunningEngine) -> None:
    last.process.kill()
    connection_file(last.environment).write_bytes(b'{"transport": "unix", "address"')


def _is_killed_and_its_number_taken(last: RunningEngine) -> None:
    last.process.kill()
    connections.write(connection_file(last.environment), replace(last.connection, pid=os.getpid()))


LEFT_BEHIND = (
    _ends,
    _is_killed,
    _is_killed_and_its_file_lost,
    _is_killed_and_its_file_damaged,
    _is_killed_and_its_number_taken,
)


def test_ten_processes_start_one_engine_twenty_times() -> None:
    """Over what each engine left of itself when it ended."""
    with ExitStack() as stack:
        environment = stack.enter_context(runtime_folder(JPY_PARENT_PID=str(os.getpid())))
        starters = [
            stack.enter_context(python(environment, "-c", STARTER, stdin=-1, bufsize=1))
            for _ in range(10)
        ]
        for starter in starters:
            stack.callback(starter.kill)
        seen: set[str] = set()
        for number in range(20):
            for starter in starters:
                assert starter.stdin is not None
                starter.stdin.write("go\n")
            told = {starter.stdout.readline().strip() for starter in starters if starter.stdout}
            assert len(told) == 1 and told.isdisjoint(seen), told
            seen |= told
            assert [str(process.pid) for process in engines_of(environment)] == list(told)
            last = attach(environment)
            assert last is not None
            last.http.close()
            LEFT_BEHIND[number % len(LEFT_BEHIND)](last)
            assert gone_within([last.process], PATIENCE)


def ask() -> str:
    client = EngineClient()
    try:
        *_, last = client.generate(GenerationRequest(ECHO, prompt="hello"))
        assert isinstance(last, Completion)
        return last.text
    finally:
        client.close()


def test_what_a_killed_engine_left_is_cleared_away() -> None:
    with runtime_folder() as environment, in_this_process(environment):
        with started(environment) as first:
            first.process.kill()
            assert gone_within([first.process], PATIENCE)
        stale = Path(first.connection.address).parent
        assert stale.is_dir()
        assert ask() == "hello"
        second = attach(environment)
        assert second is not None and second.process != first.process
        assert not stale.exists()
        assert Path(second.connection.address).is_socket()


def test_an_engine_that_ends_leaves_nothing_but_its_log() -> None:
    with runtime_folder() as environment, in_this_process(environment):
        assert ask() == "hello"
        running = attach(environment)
        assert running is not None
        running.process.terminate()
        assert gone_within([running.process], PATIENCE)
        left = {path.name for path in connection_file(environment).parent.iterdir()}
    assert left - {"llmspell-engine.lock", "llmspell-engine-start.lock"} == {"llmspell-engine.log"}


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"{", b"[]", b"3", b"{}", b'{"transport": "unix"}', b"{" * 10_000]
)
def test_a_connection_file_that_makes_no_sense_is_no_engine(content: bytes) -> None:
    with runtime_folder() as environment, in_this_process(environment):
        file = connection_file(environment)
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        assert connections.read(file) is None
        assert asyncio.run(start.find()) is None


def test_a_connection_file_that_makes_no_sense_is_replaced() -> None:
    with runtime_folder() as environment, in_this_process(environment):
        file = connection_file(environment)
        file.parent.mkdir(parents=True)
        file.write_bytes(b"{")
        file.chmod(0o644)
        assert ask() == "hello"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def stale(address: str, **rest: object) -> Connection:
    facts = {
        "transport": "unix",
        "token": "t",
        "pid": 1,
        "created": 1.0,
        "version": "0",
        "python": "",
    }
    return Connection(**{**facts, "address": address, **rest})  # type: ignore[arg-type]


def test_a_process_that_got_the_same_number_later_is_not_the_engine() -> None:
    me = psutil.Process()
    assert stale("x", pid=me.pid, created=me.create_time()).process() == me
    assert stale("x", pid=me.pid, created=me.create_time() - 60).process() is None


def test_a_server_that_took_the_same_address_later_is_not_the_engine() -> None:
    with engine() as other, runtime_folder() as environment, in_this_process(environment):
        file = connection_file(environment)
        file.parent.mkdir(parents=True)
        # It listens there, and refuses our token.
        connections.write(file, stale(other.connection.address))
        assert asyncio.run(start.find()) is None
        assert ask() == "hello"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_an_engine_that_does_not_answer_is_named() -> None:
    with runtime_folder() as environment, in_this_process(environment):
        file = connection_file(environment)
        file.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as listener:
            address = str(file.with_name("s"))
            listener.bind(address)
            listener.listen(5)
            connections.write(file, stale(address, pid=os.getpid()))
            with pytest.raises(
                EngineUnavailable, match=f"process {os.getpid()}.*does not answer"
            ) as e:
                asyncio.run(start.find_or_start())
        assert "engine stop" in e.value.hint
        file.unlink()


def test_an_engine_of_another_protocol_is_named() -> None:
    with engine() as running, in_this_process(running.environment):
        file = connection_file(running.environment)
        values = json.loads(file.read_text())
        # A later version may also say more.
        file.write_text(json.dumps(values | {"protocol": PROTOCOL + 1, "version": "9.9", "new": 1}))
        with pytest.raises(EngineUnavailable, match=r"version 9\.9"):
            asyncio.run(start.find_or_start())
        file.write_text(json.dumps(values))
        assert asyncio.run(start.find()) == running.connection


def test_the_second_engine_in_a_folder_is_refused() -> None:
    with engine() as first:
        second = jupyter_llmspell(first.environment, "engine", "serve")
        assert second.returncode == 1
        assert "runs already" in second.stderr and "Traceback" not in second.stderr
        assert attach(first.environment) is not None
        assert connections.read(connection_file(first.environment)) == first.connection
        assert first.chat("hello").status_code == 200


def test_a_request_that_comes_while_an_engine_ends_starts_the_next() -> None:
    """An open stream holds an ending engine, and its lock, for a second."""
    with runtime_folder() as environment, in_this_process(environment):
        assert ask() == "hello"
        first = attach(environment)
        assert first is not None
        with first.answering():
            first.process.terminate()
            wait_for(lambda: not _connects(first.connection.address))
            assert runs(first.process)
            assert ask() == "hello"
        second = attach(environment)
        assert second is not None and second.process != first.process
        assert gone_within([first.process], PATIENCE)
        assert Path(second.connection.address).is_socket()


def _connects(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(address) == 0


@pytest.mark.skipif(os.name == "nt", reason="no Unix sockets")
def test_a_folder_whose_name_is_too_long_for_a_socket() -> None:
    with runtime_folder() as environment:
        long = Path(environment["JUPYTER_RUNTIME_DIR"], *["a" * 200] * 3)
        with started(environment | {"JUPYTER_RUNTIME_DIR": str(long)}) as running:
            socket_ = Path(running.connection.address)
            assert len(os.fsencode(socket_)) < 104
            assert stat.S_IMODE(socket_.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE(connection_file(running.environment).stat().st_mode) == 0o600
            assert running.chat("hello").status_code == 200
        assert not socket_.parent.exists()


@pytest.mark.skipif(os.name == "nt", reason="no Unix sockets")
def test_all_folders_too_long_for_a_socket() -> None:
    with runtime_folder() as environment:
        long = Path(environment["JUPYTER_RUNTIME_DIR"], "a" * 200)
        temporary = long / "tmp"
        temporary.mkdir(parents=True)
        variables = {"JUPYTER_RUNTIME_DIR": str(long), "TMPDIR": str(temporary)}
        with started(environment | variables) as running:
            assert running.chat("hello").status_code == 200
            assert len(os.fsencode(running.connection.address)) < 104


def test_an_engine_that_cannot_start_says_why() -> None:
    with runtime_folder(LLMSPELL_ENGINE_IDLE_SECONDS="soon") as environment:
        with in_this_process(environment), pytest.raises(EngineUnavailable) as caught:
            ask()
        assert caught.value.message.splitlines()[1].startswith(
            "  ConfigError: LLMSPELL_ENGINE_IDLE_SECONDS: "
        )
        assert caught.value.data["exit_status"] == 1


def test_over_tcp_small_answers_are_sent_at_once() -> None:
    async def run() -> int:
        accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

        async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await accepted.put(writer)

        with serve._listen("tcp") as (listener, address):
            async with await asyncio.start_server(note, sock=listener):
                host, _, port = address.rpartition(":")
                _, client = await asyncio.open_connection(host, int(port))
                server = await accepted.get()
                found = server.get_extra_info("socket")
                option = int(found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                for writer in (client, server):
                    writer.close()
                    await writer.wait_closed()
                return option

    assert asyncio.run(run()) != 0


def test_a_connection_file_that_is_tidied_away_comes_back() -> None:
    with engine() as running:
        file = Path(running.environment["JUPYTER_RUNTIME_DIR"], "llmspell-engine.json")
        file.unlink()
        wait_for(file.exists)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert connections.read(file) == running.connection


def test_an_engine_is_no_child_that_a_closed_terminal_ends() -> None:
    with runtime_folder() as environment:
        variables = environment | {"JPY_PARENT_PID": str(os.getpid())}
        with python(variables, "-c", ASK, stdin=-1, start_new_session=True) as asker:
            output, errors = asker.communicate("\n", timeout=60)
        assert asker.returncode == 0, errors
        assert os.getsid(int(output)) == int(output) != asker.pid
        with pytest.raises(ProcessLookupError):
            os.killpg(asker.pid, signal.SIGHUP)
        running = attach(environment)
        assert running is not None and running.chat("hello").status_code == 200
        running.http.close()
