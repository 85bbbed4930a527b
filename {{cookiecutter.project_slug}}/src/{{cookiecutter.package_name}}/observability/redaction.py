"""No credentials and no values of query parameters in any text that leaves the process.

Libraries put URLs into their messages and exceptions, with everything that is in them: a token in PAYMENT_URL, the
password of an endpoint, what a client sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# A colon makes a password likely also where the scheme is missing, as in the targets of gRPC.
_CREDENTIALS = re.compile(r"(?:(?<=://)[^\s/?#]*|(?<![^\s/?#])[^\s/?#:]*:[^\s/?#]*)@")
_QUERY = re.compile(r"\?\S+")
_VALUE = re.compile(r"=[^&#]*")


def redact(text: str) -> str:
    """Return `text` without the credentials and the values of query parameters that stand in its URLs.

    A path will do for a URL: urllib3 writes "Max retries exceeded with url: /api?token=abc".
    """
    if "@" in text:
        text = _CREDENTIALS.sub("REDACTED@", text)
    if "?" in text:
        text = _QUERY.sub(_redact_query, text)
    return text


def without_values(query: str) -> str:
    """Return the query with the names of its parameters alone."""
    return _VALUE.sub("=REDACTED", query)


def redact_value(value: Any) -> Any:
    """Return `value` redacted: the texts in maps and lists too, and of any other object its text."""
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {key: redact_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_value(item) for item in value]
    return redact(str(value))


def _redact_query(match: re.Match[str]) -> str:
    # What closes a sentence, a quotation or a bracket around the URL stays.
    query = match[0].rstrip("'\"`)]}>,.:;")
    return without_values(query) + match[0][len(query) :]
