import os

import pytest

from llmspell_jupyter.engine.cores import parse_quota, read_quotas, usable_cores, whole_cores


@pytest.mark.parametrize(
    ("allowed", "quotas", "cores"),
    [
        (8, [], 8),
        (8, [2.0], 2),
        (2, [8.0], 2),
        (8, [4.0, 1.5], 1),
        (8, [2.99], 2),
        (8, [0.5], 1),
        (1, [], 1),
    ],
)
def test_smallest_limit_counts(allowed, quotas, cores):
    assert whole_cores(allowed, quotas) == cores


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [
        ("200000", "100000", 2.0),
        ("150000\n", "100000\n", 1.5),
        ("max", "100000", None),
        ("-1", "100000", None),
        ("0", "100000", None),
        ("100000", "0", None),
        ("", "", None),
    ],
)
def test_quota(quota, period, cores):
    assert parse_quota(quota, period) == cores


V2 = {"proc/self/cgroup": "0::/user/job\n"}
V1 = {"proc/self/cgroup": "4:memory:/box\n3:cpu,cpuacct:/box/job\n"}


@pytest.mark.parametrize(
    ("files", "quotas"),
    [
        ({}, []),
        (V2, []),
        (V2 | {"sys/fs/cgroup/user/job/cpu.max": "max 100000\n"}, []),
        (V2 | {"sys/fs/cgroup/user/job/cpu.max": "300000 100000\n"}, [3.0]),
        (
            V2
            | {
                "sys/fs/cgroup/user/job/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/user/cpu.max": "100000 100000\n",
            },
            [3.0, 1.0],
        ),
        # In a container the named group does not exist; its own is the root.
        (V2 | {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, [2.0]),
        (V2 | {"sys/fs/cgroup/cpu.max": "rubbish\n"}, []),
        (
            V1
            | {
                "sys/fs/cgroup/cpu,cpuacct/box/job/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu,cpuacct/box/job/cpu.cfs_period_us": "100000\n",
            },
            [0.5],
        ),
        (
            V1
            | {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            [],
        ),
        ({"proc/self/cgroup": "nonsense\n"}, []),
        ({"proc/self/cgroup": "0::/../../etc\n"}, []),
    ],
)
def test_quotas_are_read_from_all_enclosing_groups(tmp_path, files, quotas):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert read_quotas(tmp_path) == quotas


def test_this_machine_has_a_core():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
