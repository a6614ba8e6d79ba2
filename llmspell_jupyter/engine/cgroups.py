"""The control groups of this process, which bound what a container may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def folders(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """The groups of this process, of cgroup v2 and v1, and all groups around them.

    Inside a container the named path often does not exist because the container's own group is
    mounted as the root, which is why the root is always among them.

    Args:
        controller: What is bounded, such as ``cpu`` or ``memory``.
        root: Folder below which ``proc`` and ``sys`` lie.
    """
    mount = root / "sys/fs/cgroup"
    try:
        membership = (root / "proc/self/cgroup").read_text()
    except OSError:
        return
    for line in membership.splitlines():
        _, colon, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if colon and not controllers:
            base = mount
        elif controller in controllers.split(","):
            base = mount / controllers if (mount / controllers).is_dir() else mount / controller
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for part in (group, *group.parents):
            if ".." not in part.parts:
                yield base / part
