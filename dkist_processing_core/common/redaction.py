"""
Find secrets in text that leaves this process, and replace them.

Runs in: all four interpreters, with the standard library alone.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

__all__ = ["REDACTED", "is_secret_name", "redact_urls", "redactor", "without_credentials"]

REDACTED = "<redacted>"
SECRET_NAME = re.compile("pass|secret|token|credential|api_?key|access_key|private_key", re.IGNORECASE)
# The user information of a URL (RFC 3986, 3.2.1). People do not always percent-encode a password, so it may contain "@"
# or "/"; the last "@" before white space or a quote ends it. The pattern matches all up to there, with an "@" or not,
# so that a long list of URLs is scanned once.
URL = re.compile(r"""(?:(?<=://)|(?<=:\\/\\/))[^\s"'<>]+""")
# The same in a URL that is percent-encoded as a whole, as in the query of another one.
ENCODED_URL = re.compile(r"""(?:(?<=%3A//)|(?<=%3A%2F%2F))[^\s"'<>&]+""", re.IGNORECASE)
ONLY_URL = re.compile("(?<=://).+", re.DOTALL)
# A program that mistakes a part of a password for a port or a path prints only that part.
ENDS_OF_PARTS = re.compile("[/@:?#]")
# A secret is not part of a longer word; an escape sequence before it, such as a colour code, does not count as a word.
BEGINNING, END = r"(?:(?<![^\W_])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[abfnrtv])|(?<=[\[;\d]\dm))", r"(?![^\W_])"
LETTERS_AND_DIGITS = re.compile("[A-Za-z0-9]+")
SHORTEST = 4  # replacing anything shorter would make most texts illegible


def is_secret_name(name: str) -> bool:
    """Tell whether the value of a setting of this name is a secret."""
    return SECRET_NAME.search(name) is not None


def redact_urls(text: str) -> str:
    """
    Replace the user name and password of each URL in a text.

    User names and passwords of URLs in the environment variables of this process are replaced wherever they occur, also
    in part.
    """
    return redactor()(text)


def redactor(variables: Mapping[str, str] = os.environ) -> Callable[[str], str]:
    """Return `redact_urls` for many texts; it reads the variables, by default those of this process, only once."""
    known = sorted({each for name, value in variables.items() for each in _secrets(name, value)}, key=len, reverse=True)
    pattern = re.compile(rf"{BEGINNING}(?:{'|'.join(map(_in_any_form, known))}){END}") if known else None
    # Every form of a secret contains its letters and digits unchanged. A search for the longest run of them is much
    # faster.
    parts = {max(LETTERS_AND_DIGITS.findall(each), key=len, default="") for each in known}

    def redact(text: str) -> str:
        shown = text
        for at, url in (("@", URL), ("%40", ENCODED_URL)):
            if at in shown:
                shown = url.sub(partial(_redact_user_info, at), shown)
        return pattern.sub(REDACTED, shown) if pattern and any(each in shown for each in parts) else shown

    return redact


def _redact_user_info(at: str, url: re.Match[str]) -> str:
    user_info, _, rest = url[0].rpartition(at)
    return f"{REDACTED}{at}{rest}" if user_info else url[0]


def _secrets(name: str, value: str) -> Iterator[str]:
    """Yield the secrets in the URLs of a variable, and their parts."""
    if "@" not in value:
        return
    from urllib.parse import unquote

    if name.lower().endswith("proxy") and "://" not in value:  # the scheme is optional in these
        value = f"://{value}"
    # If the value is a single URL, its password may also contain white space and quotes.
    urls = (ONLY_URL if value.count("://") == 1 else URL).findall(value)
    for user_info, _, _ in (each.rpartition("@") for each in urls):
        user, _, password = user_info.partition(":")
        # A user name without a password, or with special characters, may be a token.
        names = [user] if not password or user != _encoded(unquote(user)) or user != unquote(user) else []
        for form in {form for each in (password, *names) for form in (each, unquote(each))}:
            yield from (each for each in (form, *ENDS_OF_PARTS.split(form)) if len(each) >= SHORTEST)


def _in_any_form(secret: str) -> str:
    """Return a pattern for a secret as it is, percent-encoded, or with the escapes of JSON, Python or a shell."""
    return "".join(each if each.isascii() and each.isalnum() else _special(each) for each in secret)


def _special(character: str) -> str:
    escapes = f"\\u{ord(character):04x}", repr(character)[1:-1], repr(os.fsencode(character))[2:-1]
    forms = [rf"\\+{re.escape(each.lstrip(chr(92)))}" for each in escapes if each.startswith("\\")]
    forms += [rf"\\*{re.escape(character)}", _encoded(character), _encoded(character).lower()]
    forms += {" ": [r"\+"], "'": [r"""'(?:"'"|\\')'"""]}.get(character, [])
    return f"(?:{'|'.join(forms)})"


def _encoded(text: str) -> str:
    """Return a text percent-encoded; Python has a surrogate for each byte of a variable that is not UTF-8."""
    from urllib.parse import quote

    return quote(text, safe="", errors="surrogateescape")


def without_credentials(text: str) -> str:
    """Remove user name and password from the URLs in a text, so that addresses with different passwords are equal."""
    return URL.sub(lambda url: url[0].rpartition("@")[2], text)
