"""Which device computes: the whole table, and that it is never silent."""

from __future__ import annotations

import pytest

from llmspell_jupyter.engine.device import Device, Probe, choose
from llmspell_jupyter.errors import DeviceUnavailable

INSTALL = {"cuda": "pip install a-cuda-build", "metal": "pip install a-metal-build"}


def probe(gpu: str) -> Probe:
    absent = {"cuda": "this build has no CUDA"}
    return Probe(
        "the library", cuda=gpu == "cuda", metal=gpu == "metal", absent=absent, install=INSTALL
    )


TABLE = [
    # platform, gpu there, wanted -> computes, is warned of
    ("darwin", "metal", "auto", "metal", ""),
    ("darwin", "metal", "cpu", "cpu", ""),
    ("darwin", "metal", "metal", "metal", ""),
    ("darwin", "metal", "cuda", "cpu", 'device = "metal"'),
    ("darwin", "", "auto", "cpu", ""),
    ("darwin", "", "cpu", "cpu", ""),
    ("darwin", "", "metal", None, ""),
    ("darwin", "", "cuda", "cpu", "the CPU computes"),
    *(
        (platform, *row)
        for platform in ("linux", "win32")
        for row in (
            ("cuda", "auto", "cuda", ""),
            ("cuda", "cpu", "cpu", ""),
            ("cuda", "cuda", "cuda", ""),
            ("cuda", "metal", "cpu", 'device = "cuda"'),
            ("", "auto", "cpu", ""),
            ("", "cpu", "cpu", ""),
            ("", "cuda", None, ""),
            ("", "metal", "cpu", "the CPU computes"),
        )
    ),
]


@pytest.mark.parametrize(("platform", "gpu", "wanted", "computes", "warned"), TABLE)
def test_the_table(platform: str, gpu: str, wanted: str, computes: str | None, warned: str) -> None:
    if computes is None:
        with pytest.raises(DeviceUnavailable) as error:
            choose(wanted, platform, probe(gpu))
        assert INSTALL[wanted] in error.value.hint
        assert 'device = "cpu"' in error.value.hint
        assert error.value.data["device"] == wanted
        return
    device = choose(wanted, platform, probe(gpu))
    assert device.name == computes
    assert device.reason
    assert (warned in device.warning) if warned else not device.warning
    # Whoever asked for a device by name and gets another is told so.
    assert bool(device.warning) == (wanted not in ("auto", computes))


def test_a_hint_to_a_gpu_that_is_not_there_is_not_given() -> None:
    assert "metal" not in choose("cuda", "darwin", probe("")).warning.replace("Metal", "")
    assert 'device = "cuda"' not in choose("metal", "linux", probe("")).warning


def test_why_the_cpu_computes() -> None:
    assert choose("auto", "linux", probe("")).reason == "auto: no cuda, this build has no CUDA"
    assert choose("auto", "darwin", Probe("torch")).reason == (
        "auto: no metal, torch finds none that it can use"
    )


def test_facts() -> None:
    assert Device("cpu", "asked for").facts() == {"device": "cpu", "device_reason": "asked for"}
    assert choose("metal", "linux", probe("")).facts()["device_warning"]


def test_no_install_line_is_made_up() -> None:
    with pytest.raises(DeviceUnavailable) as error:
        choose("cuda", "linux", Probe("torch"))
    assert error.value.hint.startswith("To go on without, write")
