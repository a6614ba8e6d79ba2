import subprocess
import sys
import time

import pytest

from llmspell_jupyter.engine.backend import Failed
from llmspell_jupyter.engine.backends._llama import gbnf
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import Sampling
from tests.support.llama import GREEDY, ask, events_of, run, text

WILD = Sampling(temperature=1.0, top_p=1.0, top_k=0, repeat_penalty=1.0, seed=1)


def follow(backend, grammar, prompt="the sea", **rest):
    return run(backend, ask(prompt, grammar=grammar, **rest))


@pytest.mark.parametrize("how", [GREEDY, WILD, Sampling(temperature=1.0, mirostat=2, seed=1)])
def test_a_complete_grammar_ends_the_answer(tiny, how):
    events = follow(tiny, 'root ::= "yes" | "no" | "maybe" [a-c]{2,3}', sampling=how)
    assert text(events) in {"yes", "no"} or text(events).startswith("maybe")
    assert events[-1].reason == "stop"


def test_the_likeliest_allowed_word(smollm2):
    prompt = "The capital of France is"
    grammar = 'root ::= " London" | " Paris" | " Rome"'
    assert text(follow(smollm2, grammar, prompt)) == " Paris"


def test_a_grammar_that_allows_everything_changes_nothing(smollm2):
    how = Sampling(temperature=0.9, seed=3)
    free = text(run(smollm2, ask("Once upon a time", sampling=how, max_tokens=12)))
    held = text(follow(smollm2, "root ::= .*", "Once upon a time", sampling=how, max_tokens=12))
    assert held == free


def test_a_seed_repeats_under_a_grammar(tiny):
    texts = [text(follow(tiny, "root ::= [a-z ]+", sampling=WILD)) for _ in range(2)]
    assert texts[0] == texts[1]
    assert set(texts[0]) <= set("abcdefghijklmnopqrstuvwxyz ")
    assert (
        len({text(follow(tiny, "root ::= [a-z ]+", sampling=Sampling(seed=n))) for n in (1, 2)})
        == 2
    )


def test_cut_by_max_tokens(tiny):
    events = follow(tiny, "root ::= [0-9]+", max_tokens=5)
    assert (events[-1].reason, len(text(events))) == ("length", 5)


@pytest.mark.parametrize(
    ("grammar", "bias"),
    [
        ("root ::= [z-a]", ()),
        ('root ::= "ab"', ((3 + ord("b"), -float("inf")),)),
    ],
)
def test_a_dead_end_is_an_error(tiny, grammar, bias):
    # Forbid the letter and every token that begins with it.
    bias = (*bias, *((t, -float("inf")) for t in range(259, 286) if bias))
    how = Sampling(temperature=0, logit_bias=bias)
    events = events_of(tiny, ask("the sea", grammar=grammar, sampling=how))
    assert isinstance(events[-1], Failed)
    assert "goes on as the grammar wants" in events[-1].error.message
    assert text(run(tiny, ask("the sea")))


GOOD = [
    'root ::= "a" # a comment',
    'root ::= (\n "a" |\n "b" )+\n',
    'root ::= "\\x41\\u00e9\\U0001F600\\"\\\\\\n"',
    "root ::= [^a-z\\]\\-] . [-a]",
    'root ::= a-1? ( a-1 "," ){2,} a-1{3} a-1{0,4}\na-1 ::= "x"',
    "\n\n# only\nroot ::=\n  [a]\r\n",
    'root ::= ("a"?)*',
]
BAD = [
    ("", "no rule 'root'"),
    ('a ::= "b"', "no rule 'root'"),
    ('root ::= "a', "line 1: it ends too early"),
    ("root ::= [a", "line 1: it ends too early"),
    ("root ::= []", "empty character class"),
    ('root ::= "a"\nb ::= c\n', "line 2: there is no rule 'c'"),
    ('root ::= ("a"', "line 1: '\\)' is expected"),
    ('root ::= "a")', "'\\)' is not expected"),
    ("root = a", "'::=' is expected"),
    ("root ::= *", "nothing stands before"),
    ('root ::= "\\q"', "unknown escape"),
    ('root ::= "\\xg1"', "hexadecimal"),
    ('root ::= "a"{x}', "a number is expected"),
    ('root ::= "a"{5,2}', "at least 5 and at most 2"),
    ("root ::= <[7]>", "angle brackets"),
    ("root ::= \ud800", "half a character"),
    ('root ::= "\0"', "NUL"),
    ('root ::= root "a" | "b"', "rule 'root' begins with itself"),
    ('root ::= (root "a" | "b")', "rule 'root' begins with itself"),
    ('root ::= e x\ne ::= "y"?\nx ::= e root', "begins with itself"),
]
HOSTILE = [
    'root ::= "a"{1,100000}',
    'root ::= "a"{99999999999999999999}',
    'root ::= (("a"{0,100}){0,100}){0,100}',
    "root ::= " + '"a"? ' * 1000,
    'root ::= ("a"? "b"?){0,300}',
    "root ::= " + "(" * 30000 + '"a"' + ")" * 30000,
    "root ::= r0\n" + "\n".join(f'r{i} ::= r{i + 1} "x"' for i in range(6000)) + '\nr6000 ::= "a"',
    "root ::= r0\n"
    + "\n".join(f'r{i} ::= r{i + 1} r{i + 1} | "x"' for i in range(25))
    + '\nr25 ::= "a"|',
    "root ::= " + " | ".join(f'"w{i}"' for i in range(9000)),
    "root ::= " + '"a"' * 20000 + "{900}" * 9,
    'root ::= "' + "a" * 90000 + '"',
    "x" * 1_000_000,
    "root ::= " + "[" * 90_000,
]


@pytest.mark.parametrize("grammar", GOOD)
def test_what_is_taken_llama_cpp_takes(tiny, grammar):
    gbnf.check(grammar)
    assert run(tiny, ask("a", grammar=grammar, max_tokens=3))


@pytest.mark.parametrize(("grammar", "cause"), BAD)
def test_a_wrong_grammar_is_refused_with_its_cause(tiny, grammar, cause):
    with pytest.raises(RequestError, match=cause) as caught:
        tiny.start("r", ask("a", grammar=grammar), lambda: False)
    assert caught.value.data["field"] == "grammar"
    assert tiny.active == 0


@pytest.mark.parametrize("grammar", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_grammar_is_refused_soon(tiny, grammar):
    began = time.process_time()
    with pytest.raises(RequestError, match="grammar cannot be used"):
        tiny.start("r", ask("a", grammar=grammar), lambda: False)
    assert time.process_time() - began < 2


DEEPENING = 'root ::= s\ns ::= "x" s a | "x" s b | "x"\na ::= "y"\nb ::= "y"'
ENDS = """
import sys, time
from llmspell_jupyter.engine.backends._llama import sampling
with sampling.Watch(1.0):
    time.sleep(60)
"""


def test_a_grammar_that_grows_too_slow_is_given_up(tiny):
    """Each x doubles the ways to read on, which shows only while it is written."""
    [x] = [3 + ord("x")]
    how = Sampling(temperature=0, repeat_penalty=1.0, logit_bias=((x, 100.0),))
    events = events_of(tiny, ask("a", grammar=DEEPENING, sampling=how, max_tokens=40))
    assert isinstance(events[-1], Failed)
    assert "for one token" in events[-1].error.message


def test_a_call_that_does_not_come_back_ends_the_process():
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "Timeout" in ended.stderr
    assert time.monotonic() - began < 30
