import sys

import pytest

from llmspell_jupyter.engine import device
from llmspell_jupyter.engine.backend import Reading
from llmspell_jupyter.engine.backends._llama import devices
from llmspell_jupyter.engine.backends._llama.library import library
from llmspell_jupyter.errors import DeviceUnavailable, EngineError, RequestError
from llmspell_jupyter.types import CacheType
from tests.support.llama import ask, collect, run, text, vectors

PROMPT = "\x01" * 100


def test_batch_size_is_how_much_is_read_at_a_time_at_most(load, tiny_file):
    def slices(size):
        events = run(load(tiny_file, batch_size=size), ask(PROMPT, max_tokens=1))
        return [event.done for event in events if isinstance(event, Reading)]

    assert slices(512)[-1] == 102
    assert slices(40) == [40, 80, 102]


def test_batch_size_above_the_usual(load, tiny_file, tmp_path):
    from tests.support.tiny_gguf import write_tiny_gguf

    path = write_tiny_gguf(tmp_path / "long.gguf", context=2048)
    backend = load(path, context_size=2048, batch_size=1024)
    events = run(backend, ask("\x01" * 900, max_tokens=1))
    done = [event.done for event in events if isinstance(event, Reading)]
    assert done[0] == 64 and done[-1] == 902


def test_max_concurrent_is_how_many_are_written_at_a_time(load, tiny_file):
    def most_at_once(count):
        backend = load(tiny_file, max_concurrent=count)
        for name in "xyz":
            backend.start(name, ask("the sea", max_tokens=8), lambda: False)
        steps = []
        while backend.active:
            steps.append({event.request_id for event in backend.step()})
        return max(map(len, steps))

    assert [most_at_once(count) for count in (1, 2, 3)] == [1, 2, 3]


def test_max_concurrent_beyond_llama_cpp(load, tiny_file):
    with pytest.raises(RequestError, match="max_concurrent is 1000"):
        load(tiny_file, max_concurrent=1000)


@pytest.mark.parametrize("context_size", [1, 33])
@pytest.mark.parametrize("batch_size", [1, 65_536])
@pytest.mark.parametrize("max_concurrent", [1, 256])
def test_the_ends_of_the_ranges_work(load, tiny_file, context_size, batch_size, max_concurrent):
    """llama.cpp ends the process over sizes that do not go together."""
    backend = load(
        tiny_file, context_size=context_size, batch_size=batch_size, max_concurrent=max_concurrent
    )
    assert text(run(backend, ask("", max_tokens=2)))
    assert vectors(backend, "", "").shape == (2, 32)


def test_flash_attention(load, smollm2_file):
    """What is in use is what llama.cpp says, not what was asked for."""
    on, off = (load(smollm2_file, context_size=128, flash_attention=each) for each in (True, False))
    assert on.describe()["flash_attention"] is True
    assert off.describe()["flash_attention"] is False
    answers = {text(run(each, ask("The capital of France is", max_tokens=3))) for each in (on, off)}
    assert len(answers) == 1


@pytest.mark.parametrize("cache_type", CacheType.__args__)
def test_cache_types(load, smollm2_file, cache_type):
    backend = load(smollm2_file, context_size=128, cache_type=cache_type)
    assert backend.describe()["cache_type"] == cache_type
    answer = text(run(backend, ask("The capital of France is", max_tokens=2)))
    assert answer.startswith(" Paris") or cache_type in ("q4_0", "q4_1")


def test_cache_types_take_different_room(smollm2_file):
    from tests.support import llama

    def state(cache_type):
        """Bytes of what the model remembers of the same prompt."""
        backend = llama.load(smollm2_file, context_size=128, cache_type=cache_type)
        backend.start("r", ask("The capital of France is", max_tokens=3), lambda: False)
        backend.step()
        lib, generator = backend._model.lib, backend._generator
        size = lib.llama_state_seq_get_size(generator._context, 0)
        backend.close()
        return size

    assert state("f32") > 1.8 * state("f16") > 3 * state("q4_0")


def test_a_quantised_cache_needs_flash_attention(load, tiny_file):
    with pytest.raises(RequestError, match="cache_type q8_0 needs flash attention") as caught:
        load(tiny_file, cache_type="q8_0", flash_attention=False)
    assert 'cache_type = "f16"' in caught.value.hint


def test_a_cache_type_that_the_model_cannot_have(load, tiny_file):
    """Its heads are 8 wide; a block of q8_0 is 32."""
    with pytest.raises(EngineError) as caught:
        load(tiny_file, cache_type="q8_0")
    assert 'try "f16"' in caught.value.hint


def test_dtype_is_not_for_these_files(load, tiny_file):
    with pytest.raises(RequestError, match="quantization is in the file"):
        load(tiny_file, dtype="bfloat16")


def test_the_cpu_takes_no_layers(load, tiny_file):
    facts = load(tiny_file, device="cpu", gpu_layers=99).describe()
    assert (facts["device"], facts["device_reason"], facts["gpu_layers"]) == ("cpu", "asked for", 0)


def test_auto_says_what_computes_and_why(load, tiny_file):
    facts = load(tiny_file).describe()
    assert facts["device"] in ("cpu", "cuda", "metal")
    assert facts["device_reason"].startswith("auto: ")


def test_a_gpu_that_is_not_there(load, tiny_file):
    lib, _ = library()
    found = devices.find(lib)
    own = "metal" if sys.platform == "darwin" else "cuda"
    if found.of(own):
        assert load(tiny_file, device=own).describe()["gpu_layers"] == 3
        assert load(tiny_file, device=own, gpu_layers=1).describe()["gpu_layers"] == 1
        return
    with pytest.raises(DeviceUnavailable) as caught:
        load(tiny_file, device=own)
    assert "-DGGML_" in caught.value.hint and "pip install" in caught.value.hint


@pytest.mark.skipif(sys.platform == "darwin", reason="Metal is there")
def test_the_gpu_of_another_platform_warns(load, tiny_file):
    facts = load(tiny_file, device="metal").describe()
    assert facts["device"] == "cpu" and "metal was asked for" in facts["device_warning"]


def test_what_a_build_with_a_gpu_would_choose():
    lib, _ = library()
    found = devices.NativeDevices(cuda=(1, 2))
    probe = devices.probe(lib, found)
    assert device.choose("auto", "linux", probe).name == "cuda"
    assert device.choose("cpu", "linux", probe).name == "cpu"
    assert list(devices.device_list(found.of("cuda"))) == [1, 2, None]
    assert list(devices.device_list(found.of("cpu"))) == [None]


def test_requests_share_one_context(load, tiny_file):
    backend = load(tiny_file, max_concurrent=4, context_size=64)
    for name in "xy":
        backend.start(name, ask("\x01" * 30, max_tokens=20), lambda: False)
    answers = collect(backend)
    assert all(events[-1].usage["completion_tokens"] for events in answers.values())
