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


MASK = "****"

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)


def mask(variable: str, value: str) -> str:
    """Return a variable's value without what may be a secret.

    A value is masked as a whole if the variable's name says so, as with API_KEY. In headers the values are masked, in
    URLs the credentials and the query.
    """
    if variable.upper().endswith("HEADERS"):
        keys = [pair.partition("=") for pair in value.split(",") if pair.strip()]
        return ",".join(f"{key.strip()}={MASK}" if sign else MASK for key, sign, _ in keys)
    if _SECRET_NAME.search(variable) and not variable.upper().endswith(("_CLIENT_KEY", "_CERTIFICATE")):
        return MASK if value else value
    value = re.sub(r"^(\w+:(//)?)?[^/]*@", rf"\1{MASK}@", value, flags=re.DOTALL)
    return re.sub(r"(?<=\S)[?#].*", f"?{MASK}", value, flags=re.DOTALL) if "://" in value else value
