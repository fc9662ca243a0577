"""
What a secret looks like in a text that leaves this process, and what is shown in its place.

Runs in: all four interpreters, with the standard library alone.
"""

import re

__all__ = ["REDACTED", "is_secret_name", "redact_urls", "without_credentials"]

REDACTED = "<redacted>"
SECRET_NAME = re.compile("pass|secret|token|credential|api_?key|access_key|private_key", re.IGNORECASE)
# The user information of a URL (RFC 3986, 3.2.1). People do not always percent-encode a password, so an "@" or "/" may
# be part of it; the last "@" before white space or a quote ends it.
USER_INFO = re.compile(r"""(?<=://)[^\s"'<>]+(?=@)""")


def is_secret_name(name: str) -> bool:
    """Tell whether the value of a setting of this name is a secret."""
    return SECRET_NAME.search(name) is not None


def redact_urls(text: str) -> str:
    """Return a text with user name and password of each URL in it replaced."""
    return USER_INFO.sub(REDACTED, text)


def without_credentials(text: str) -> str:
    """Return a text without user name and password in its URLs: another password does not make another address."""
    return USER_INFO.sub("", text).replace("://@", "://")
