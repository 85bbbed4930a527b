"""Remove credentials and the values of query parameters from text that leaves the process.

Libraries put whole URLs into their messages and exceptions, with tokens of other services, passwords of endpoints and
data from clients.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

# Without a scheme, as in gRPC targets, a colon suggests a password.
_CREDENTIALS = re.compile(r"(?:(?<=://)[^\s/?#]*|(?<![^\s/?#])[^\s/?#:]*:[^\s/?#]*)@")
_QUERY = re.compile(r"\?\S+", re.ASCII)
# Up to the end unless the line is well-formed: development servers quote malformed ones verbatim, with spaces.
_REQUEST = re.compile(r"\?(?:\S+(?= HTTP/\d\.\d(?:\x1b\[0m)?\Z)|.*)|(?<=^Bad request version ).*", re.DOTALL)
_VALUE = re.compile(r"=[^&#]*")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)

MASK = "****"


def redact(text: str) -> str:
    """Return `text` without the credentials and the values of query parameters in its URLs.

    A path counts as a URL: urllib3 writes "Max retries exceeded with url: /api?token=abc". Characters that UTF-8 cannot
    encode, as in the name of a file that is not UTF-8, are escaped.
    """
    if not text.isascii():
        text = encodable(text)
    if "@" in text:
        text = _CREDENTIALS.sub("REDACTED@", text)
    if "?" in text:
        text = _QUERY.sub(_redact_query, text)
    return text


def redact_request(text: str) -> str:
    """Return a request line, a path, or an error message about one, without the values of query parameters."""
    return _REQUEST.sub(lambda match: without_values(match[0]) if match[0][:1] == "?" else "REDACTED", text)


def encodable(text: str) -> str:
    """Return `text` with lone surrogates, which UTF-8 cannot encode, written as backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def as_text(value: Any) -> str:
    """Return `str(value)`, or the type and address of an object that cannot be converted."""
    try:
        return str(value)
    except Exception:  # __str__() raised, or an integer has more than 4,300 digits
        return object.__repr__(value)


def without_values(query: str) -> str:
    """Return the query with the values of its parameters redacted."""
    return _VALUE.sub("=REDACTED", query)


def redact_value(value: Any, depth: int = 10) -> Any:
    """Return `value` redacted, including text in maps and lists, as JSON and OTLP can represent it.

    Other objects are converted to text, and so are integers beyond 64 bits, infinity, NaN, and values below `depth`.
    """
    if isinstance(value, str):
        return redact(value)
    is_number = fits(value) if isinstance(value, int) else isinstance(value, float) and math.isfinite(value)
    if value is None or is_number:
        return value
    if depth and isinstance(value, Mapping):
        return {
            key if isinstance(key, str) and key.isascii() else encodable(as_text(key)): redact_value(item, depth - 1)
            for key, item in value.items()
        }
    if depth and isinstance(value, list | tuple):
        return [redact_value(item, depth - 1) for item in value]
    return redact(as_text(value))


def fits(value: int) -> bool:
    """Return whether the integer has at most 64 bits, as in OTLP."""
    return -(2**63) <= value < 2**63


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
