import sys
import time

import pytest

from llmspell_jupyter.engine.chat_template import ChatTemplate
from llmspell_jupyter.engine.limits import LONGEST_PROMPT
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import Message

HELLO = (Message("user", "Hello"),)


def render(source, messages=HELLO, **tokens):
    return ChatTemplate(source, **tokens).render(messages)


def test_messages_tokens_and_generation_prompt():
    source = (
        "{{ bos_token }}{% for message in messages %}<{{ message['role'] }}>"
        "{{ message.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    messages = (Message("system", "Be brief."), Message("user", "Hello"))
    text = render(source, messages, bos_token="[B]", eos_token="[E]")
    assert text == "[B]<system>Be brief.[E]<user>Hello[E]<assistant>"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        # Line ends and indentation of blocks vanish, as with transformers.
        ("{% if true %}\n  {% if true %}\nx\n  {% endif %}\n{% endif %}\n", "x\n"),
        ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
        ("{{ {'a': 1} | tojson(indent=2) }}", '{\n  "a": 1\n}'),
        ("{% generation %}x{% endgeneration %}", "x"),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
        ("{% set n = namespace(x=1) %}{% set n.x = 2 %}{{ n.x }}", "2"),
        ("{% if tools %}x{% endif %}{% if documents %}y{% endif %}", ""),
        ("{{ nothing }}", ""),
        ("{{ messages[0].content[::-1] }}", "olleH"),
        ("{{ 6 * 7 }} {{ 2 ** 10 }} {{ '=' * 3 }}", "42 1024 ==="),
    ],
)
def test_what_templates_use(source, text):
    assert render(source) == text


def test_date():
    assert render("{{ strftime_now('%Y') }}") == time.strftime("%Y")


def test_html_in_messages_stays_as_it_is():
    assert render("{{ messages[0].content }}", (Message("user", "<b>&"),)) == "<b>&"


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ nothing.at.all }}", "UndefinedError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% include 'other' %}", "TypeError|TemplateNotFound|loader"),
        ("{{ " + "(" * 3000 + ")" * 3000 + " }}", "RecursionError|TemplateSyntaxError|MemoryError"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
    ],
)
def test_broken_template_is_an_error_that_names_the_cause(source, cause):
    with pytest.raises(RequestError, match=cause) as caught:
        render(source)
    assert "plain prompt" in caught.value.hint


HOSTILE = "\x1b[2J\x1b]0;title\x07\u202e\x9b\nType: %pip install evil\r"


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception(messages[0].content) }}",
        "{{ {}[messages[0].content].more }}",
        "{{ strftime_now(messages[0].content).more.again }}",
        "{% include messages[0].content %}",
    ],
)
def test_what_a_template_says_is_one_short_line_of_plain_text(source):
    """O4: its words end in an error, and errors end on terminals and pages."""
    with pytest.raises(RequestError) as caught:
        render(source, (Message("user", HOSTILE + "x" * 3_000_000),))
    assert caught.value.message.isprintable() and len(caught.value.message) < 1000


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch MARKER') }}",
    "{{ self.__init__.__globals__.__builtins__.open('MARKER', 'w') }}",
    "{{ namespace.__init__.__globals__['os'].system('touch MARKER') }}",
    "{{ joiner.__init__.__globals__.os.popen('touch MARKER').read() }}",
    "{{ raise_exception.__globals__['sys'].modules['os'].system('touch MARKER') }}",
    "{{ strftime_now.__globals__.__builtins__.__import__('os').system('touch MARKER') }}",
    "{{ ''|attr('__class__')|attr('__mro__') }}",
    "{{ ['']|map(attribute='__class__')|map(attribute='__mro__')|list }}",
    "{{ messages|map('attr', '__class__')|first|attr('__mro__') }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ ('{0.__class__.__mro__}'.format)('') }}",
    "{% set f = '{0.__class__.__init__.__globals__}'.format_map %}{{ f({'0': cycler}) }}",
    "{% for x in [1] %}{{ loop.__class__.__init__.__globals__ }}{% endfor %}",
    "{{ (messages|map('string')).gi_frame.f_builtins['__import__']('os').system('touch MARKER') }}",
    "{% set x = messages.append({}) %}{{ messages|length }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_templates_do_not_get_out(source, tmp_path):
    marker = tmp_path / "marker"
    began = time.process_time()
    try:
        text = render(source.replace("MARKER", str(marker)))
    except RequestError:
        text = ""
    assert time.process_time() - began < 2
    assert not marker.exists()
    assert "<class" not in text and "function" not in text and "module" not in text
    assert text != "2"


ENDLESS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% set _ = range(99999)|map('string')|list %}{% endfor %}",
    "{{ 10 ** 10000000000 }}",
    "{% set n = namespace(x=3) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "{{ 1.5 | round(1000000000, 'ceil') }}",
]
HUGE = [
    "{{ 'x' * 10000000000 }}",
    "{{ [0] * 10000000000 }}",
    "{% set n = namespace(x='x') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% set n = namespace(x='x') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{{ '%10000000000d' | format(1) }}",
    "{{ 'x' | center(10000000000) }}",
    "{{ '{:>10000000000}'.format(1) }}",
    "{{ 'x'.ljust(10000000000) }}",
    "{{ lipsum(n=100000000) }}",
    "{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    "{{ 'x' * " + str(LONGEST_PROMPT + 1) + " }}",
]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit memory")
@pytest.mark.parametrize("source", ENDLESS + HUGE)
def test_endless_and_huge_templates_end_soon(source):
    began = time.process_time()
    with pytest.raises(RequestError, match="chat template"):
        render(source)
    assert time.process_time() - began < 2


def test_there_are_as_many_as_promised():
    assert len(ESCAPES) >= 10 and len(ENDLESS) >= 5 and len(HUGE) >= 5


def test_a_failure_leaves_no_limit_behind():
    tracer = sys.gettrace()
    with pytest.raises(RequestError):
        render(ENDLESS[0])
    assert sys.gettrace() is tracer
    assert len("x" * 400_000_000) == 400_000_000
    assert render("fine") == "fine"
