"""No user name and no password of a URL leaves this process, whatever characters they consist of."""

import json
import os
import re
import shlex
import time
from urllib.parse import quote, quote_plus, unquote

import pytest
from support.command_line import run_python

from dkist_processing_core.common.redaction import redact_urls
from dkist_processing_core.isb.failures.failure import last_lines
from dkist_processing_core.isb.logs.record import Encoder, event_row
from dkist_processing_core.runtime.tracebacks import format_error, summarize
from dkist_processing_core.telemetry.attributes import exception_attributes

USERS = ["reader", "us@er", "us%40er", "a/b", "me"]
PASSWORDS = ["plain1234", "s3cr/et99", "p@ss@word", "s3cr%2Fet99", "100%sure", "a:b@c/d%zz", "#hash?query", "end@"]
SCHEMES = ["https", "HTTP", "git+ssh", "postgresql+psycopg2", "amqp", "ldap", "x-own.v1"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("password", PASSWORDS)
def test_a_url_in_a_text_shows_neither(scheme, password):
    """In any scheme, in a sentence, in JSON and in the text of an exception."""
    for user in USERS:
        url = f"{scheme}://{user}:{password}@host.example/simple"
        for text in (f"cannot reach {url} now", repr(OSError(url)), json.dumps({"u": url}).replace("/", "\\/")):
            shown = redact_urls(text)
            assert password not in shown.replace("\\/", "/")
            assert f"{user}:" not in shown.replace("\\/", "/")
            assert "host.example" in shown


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    "text",
    [
        "Failed to parse: '{user}:{head}'",
        "invalid literal for int() with base 10: '{head}'",
        "Looking in indexes: https://{user}:{password}",
        "login of {user} with {password} failed",
        "login with {decoded} failed",
        "login with {encoded} failed",
    ],
    ids=["urllib3", "http.client", "cut-off", "bare", "decoded", "encoded"],
)
def test_what_a_program_makes_of_a_url_of_our_variables_does_not_show_it(monkeypatch, text, password):
    """A part of it that a parser took for a port, or all of it without the URL around it."""
    head = max(re.split("[/@:?#]", password), key=len)
    monkeypatch.setenv("PIP_INDEX_URL", f"https://us@er:{password}@127.0.0.1:9/simple")
    values = {"decoded": unquote(password), "encoded": quote(password, safe=""), "password": password, "head": head}
    shown = redact_urls(text.format(user="us@er", **values))
    assert "us@er" not in shown
    assert not any(len(each) >= 4 and each in shown for each in values.values())


def test_texts_without_secrets_stay_as_they_are(monkeypatch):
    """A URL without a password, an address of a person, a word of which a secret is a part, and a short password."""
    monkeypatch.setenv("PIP_INDEX_URL", "https://reader:dark@host/simple")
    monkeypatch.setenv("HTTP_PROXY", "http://me:of@host")
    monkeypatch.setenv("IMAGE", "python:slim@sha256:0123")
    monkeypatch.setenv("CONTACT", "someone@example.org")
    for text in (
        "https://host/x",
        "mail me@example.org",
        "https://h/?q=a%40b",
        "someone builds slim",
        "darkness of reader",
        "a\nb",
        "",
    ):
        assert redact_urls(text) == text
    assert redact_urls("the dark frame") == "the <redacted> frame"


ODD_PASSWORDS = [
    *PASSWORDS,
    "two words",
    'it\'s "quoted" \\1',
    "tab\tin it",
    "line\nbreak",
    "<tag> in it",
    "pässwört-naïve",
]
FORMS = [
    repr,
    json.dumps,
    shlex.quote,
    quote,
    quote_plus,
    lambda text: re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quote(text, safe="")),
    lambda text: repr(text.encode()),
    lambda text: repr(repr(text)),
    lambda text: json.dumps(json.dumps({"text": text})),
    lambda text: repr(f"\n{text}"),
    lambda text: f"\x1b[31m{text}\x1b[0m",
    lambda text: f"field_{text}_field",
]


@pytest.mark.parametrize("password", ODD_PASSWORDS)
@pytest.mark.parametrize("form", FORMS)
def test_no_other_spelling_shows_it(monkeypatch, form, password):
    """As programs quote and encode what is in our variables: the whole URL, or the password alone."""
    url = f"http://us@er:{password}@proxy.example:3128"
    for value in (url, url.removeprefix("http://")):
        monkeypatch.setenv("HTTP_PROXY", value)
        for text in (form(url), form(password)):
            shown = redact_urls(text)
            assert not [each for each in re.findall(r"\w{4,}", unquote(password)) if each in shown], shown


def test_a_percent_encoded_url_that_no_variable_knows_shows_neither():
    """Only the part of a query that it is in is replaced."""
    url = quote("amqp://us@er:p@ss/w0rd@broker/%2F", safe="")
    for text in (url, url.lower()):
        shown = redact_urls(f"GET https://host/?mail=me%40x.org&next={text}&user=me%40x.org")
        assert re.fullmatch(
            r"GET https://host/\?mail=me%40x.org&next=amqp%3a%2f%2f<redacted>%40broker%2f%252f&user=me%40x.org",
            shown,
            re.IGNORECASE,
        )


def test_a_long_list_of_urls_is_read_once():
    """A task that logs one would otherwise take minutes for it, and its callback would be ended by Airflow."""
    text = "me@example.org: " + ",".join(f"https://host/{number}" for number in range(8000))
    before = time.process_time()
    assert redact_urls(text) == text
    assert redact_urls(f"{text}@") == "me@example.org: https://<redacted>@"
    assert time.process_time() - before < 5


@pytest.mark.parametrize(
    "value", [b"db://us\xe9r:pass\xe9word@host", b"db://t\xf6ken@host", b"x \xff://a:b\xff@c d://e:f@g"]
)
def test_a_variable_that_is_no_utf_8_keeps_no_error_back(monkeypatch, value):
    """Python shows such a byte as a surrogate, which most of its functions refuse."""
    monkeypatch.setitem(os.environb, b"TEAM_DATABASE", value)
    shown = redact_urls(f"login with pass\udce9word of t\udcf6ken at {os.environ['TEAM_DATABASE']}")
    assert "pass\udce9word" not in shown or b"pass" not in value
    assert "t\udcf6ken" not in shown or b"ken" not in value
    assert "us\udce9r" not in shown


def test_spans_do_not_show_it(monkeypatch):
    """Neither message, traceback and status of an exception, nor those of what caused it."""
    otel = pytest.importorskip("dkist_processing_core.telemetry.otel.span")
    agent = pytest.importorskip("dkist_processing_core.telemetry.elastic.agent")
    monkeypatch.setenv("TEAM_URL", f"amqp://us%40er:{SECRET}@broker")
    first, second = ValueError(f"amqp://us%40er:{SECRET}@broker"), OSError("login with s3cr failed")
    second.__cause__ = first
    event = {"exception": {"message": f"OSError: {second}", "cause": [{"message": f"ValueError: {first}"}]}}
    shown = f"{exception_attributes(second)} {agent.redact_messages(None, event)} {otel.describe(second)}"
    assert shown.count("<redacted>") == 6
    assert "s3cr" not in shown


@pytest.mark.parametrize("offset", range(0, 40, 5))
@pytest.mark.parametrize("make", [exception_attributes, summarize, format_error], ids=["span", "line", "traceback"])
def test_what_is_left_of_a_url_that_was_cut_off_does_not_show_it(make, offset):
    """Each text is redacted before it is truncated, wherever that is."""
    urls = "x" * offset + " amqp://reader:s3cr1t99@broker" * 20_000
    shown = str(make(ValueError(urls)))
    assert "reader" not in shown
    assert "s3cr" not in shown


SECRET = "s3cr/et%zz@99"


def test_the_failure_message_and_the_log_on_the_bus_do_not_show_it(monkeypatch):
    """Both are made of texts of the task."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"https://us%40er:{SECRET}@apm.example")
    text = f"Failed to parse: 's3cr' of https://us%40er:{SECRET}@apm.example"
    error = ValueError(text)
    line = Encoder({}).line(1, event_row(text, ("failed", None, None), error))
    sent = json.loads(line)
    assert (sent["event"], sent["level"], sent["traceback"][:11]) == ("failed", "ERROR", "ValueError:")
    for shown in (last_lines(text), line):
        assert "s3cr" not in shown
        assert "us%40er" not in shown
        assert "apm.example" in shown


TASK = """
import logging
from dkist_processing_core.runtime.logging import show_log_records
show_log_records()
import os
if "HANDLER" in os.environ:
    logging.basicConfig(level="INFO")
from dkist_processing_core import telemetry
from dkist_processing_core.common.metadata import TaskMetadata
url = os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]
for name in ("opentelemetry.exporter", "elasticapm.transport", "team"):
    logging.getLogger(name).warning("cannot reach %s", url)
    try:
        int(url.split("/")[2].split(":")[1])
    except ValueError:
        logging.getLogger(name).exception("cannot parse it")
"""


@pytest.mark.parametrize(
    "variables",
    [{"DKIST_LOG_MARK": "0123"}, {"DKIST_LOG_MARK": "0123", "HANDLER": "1"}, {}],
    ids=["airflow", "airflow-and-a-handler-of-the-team", "terminal"],
)
def test_the_log_of_telemetry_does_not_show_it(variables):
    """Whoever logs the address, or the part of it that was taken for a port, in a traceback too."""
    address = f"https://us%40er:{SECRET}@127.0.0.1:9"
    done = run_python(TASK, OTEL_EXPORTER_OTLP_ENDPOINT=address, **variables).check()
    assert done.stderr.count("<redacted>") >= 6
    assert "s3cr" not in done.stderr
    assert "us%40er" not in done.stderr
