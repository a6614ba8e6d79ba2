import itertools

from hypothesis import given
from hypothesis import strategies as st

from llmspell_jupyter.engine.text import TextAssembler


def assemble(pieces, stop=()):
    text = TextAssembler(stop)
    shown = [text.push(piece) for piece in pieces]
    return shown, text.finish(), text.stopped


def cut(data, stop):
    """What the assembler promises, said without any streaming."""
    for end in range(len(data) + 1):
        begins = [end - len(each) for each in stop if data[:end].endswith(each)]
        if begins:
            return data[: min(begins)], True
    return data, False


def split(data, at):
    bounds = [0, *sorted(point % (len(data) + 1) for point in at), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(bounds)]


few_letters = st.text(alphabet="abé€😀", max_size=30)


@given(few_letters, st.lists(st.text("abé€😀", min_size=1, max_size=5), max_size=4), st.data())
def test_splitting_makes_no_difference(whole, stop, data):
    pieces = split(whole.encode(), data.draw(st.lists(st.integers(0, 200))))
    shown, rest, stopped = assemble(pieces, stop)
    assert ("".join(shown) + rest, stopped) == cut(whole, stop)


@given(st.text(max_size=40), st.lists(st.integers(0, 400)))
def test_every_piece_shown_is_whole_characters(whole, at):
    shown, rest, _ = assemble(split(whole.encode(), at))
    assert "".join(shown) + rest == whole
    assert "\ufffd" not in "".join(shown) or "\ufffd" in whole


@given(few_letters, st.lists(st.text("abé€😀", min_size=1, max_size=5), min_size=1, max_size=4))
def test_only_the_beginning_of_a_stop_string_is_held_back(whole, stop):
    text = TextAssembler(stop)
    seen = shown = ""
    for letter in whole:
        seen += letter
        shown += text.push(letter.encode())
        if text.stopped:
            return
        held = seen[len(shown) :]
        assert held == "" or any(each.startswith(held) and each != held for each in stop)


def test_stop_string_over_the_border_of_tokens():
    assert assemble([b"one EN", b"D two"], ["END"]) == (["one ", ""], "", True)


def test_false_beginning_of_a_stop_string_is_shown():
    assert assemble([b"one EN", b"TER"], ["END"]) == (["one ", "ENTER"], "", False)


def test_beginning_of_a_stop_string_at_the_end_is_handed_out():
    assert assemble([b"one EN"], ["END"]) == (["one "], "EN", False)


def test_bytes_after_the_stop_string_are_ignored():
    assert assemble([b"a.b", b"c", b"d."], ["."]) == (["a", "", ""], "", True)


def test_half_a_character_at_the_end_is_dropped():
    assert assemble(["né".encode()[:-1]]) == (["n"], "", False)


def test_impossible_bytes_become_replacement_characters():
    assert assemble([b"a\xff", b"b"]) == (["a\ufffd", "b"], "", False)
