"""How hard a pull tries. Tests take other values; users have no switch for these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Numbers of a pull; seconds and bytes.

    Attributes:
        connections: Most that are open at a time.
        least_part, most_part: Bounds of what one request asks for.
        commit: What a connection may have received and not yet noted in the journal.
        connect_seconds: For one address of a server.
        stall_seconds: A connection without a byte for so long is given up and opened again.
        least_rate: So is one with fewer bytes per second over twice that time.
        tries: Failures in a row, without progress between them, after which a pull ends.
        first_wait, longest_wait: Bounds of the time between tries, which doubles each time.
        longest_asked: A server that asks for a longer pause is not waited for.
        heartbeat_seconds: How often an owner shows that it lives.
        silent_seconds: An owner on another machine that did not for so long is gone.
    """

    connections: int = 6
    least_part: int = 4 * 1024**2
    most_part: int = 32 * 1024**2
    commit: int = 1024**2
    connect_seconds: float = 10.0
    stall_seconds: float = 30.0
    least_rate: int = 512
    tries: int = 8
    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_asked: float = 120.0
    heartbeat_seconds: float = 5.0
    silent_seconds: float = 90.0


PACE = Pace()
