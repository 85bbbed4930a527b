"""Remove credentials and the values of query parameters from text that leaves the process.

Libraries put whole URLs into their messages and exceptions: a token in the URL of another service, the password of an
endpoint, what a client sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Without a scheme, as in gRPC's targets, a colon makes a password likely.
_CREDENTIALS = re.compile(r"(?:(?<=://)[^\s/?#]*|(?<![^\s/?#])[^\s/?#:]*:[^\s/?#]*)@")
_QUERY = re.compile(r"\?\S+")
_VALUE = re.compile(r"=[^&#]*")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)

MASK = "****"


def redact(text: str) -> str:
    """Return `text` without the credentials and the values of query parameters in its URLs.

    A path counts as a URL: urllib3 writes "Max retries exceeded with url: /api?token=abc".
    """
    if "@" in text:
        text = _CREDENTIALS.sub("REDACTED@", text)
    if "?" in text:
        text = _QUERY.sub(_redact_query, text)
    return text


def without_values(query: str) -> str:
    """Return the query with the values of its parameters redacted."""
    return _VALUE.sub("=REDACTED", query)


def redact_value(value: Any) -> Any:
    """Return `value` redacted, including text in maps and lists; other objects are converted to text."""
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
    # Keep trailing punctuation that belongs to the text around the URL.
    query = match[0].rstrip("'\"`)]}>,.:;")
    return without_values(query) + match[0][len(query) :]


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
    if variable.upper().endswith("_URLS"):  # regular expressions
        return value
    value = re.sub(r"^([\w+.-]+://)?.*@", rf"\1{MASK}@", value, flags=re.DOTALL)
    query = r"[?#].*" if "://" in value else r"[?#]\S*=.*"
    return re.sub(query, f"?{MASK}", value, flags=re.DOTALL)
