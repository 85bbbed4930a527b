"""Describe a SQL statement: its summary, and its text without values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from opentelemetry.util.types import AttributeValue

MAX_TEXT = 8192
"""Characters of a statement that are looked at and recorded."""
MAX_SUMMARY = 255
"""Characters of a summary (https://opentelemetry.io/docs/specs/semconv/db/database-spans/)."""

TRANSACTIONS = {"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"}
READS_TABLES = {"SELECT", "UPDATE", "DELETE"}
"""Operations whose FROM precedes a table, unlike the one in `EXTRACT(YEAR FROM created_at)`."""
CHANGES = {"INSERT", "UPDATE", "DELETE", "MERGE"}
NO_CHANGE_AFTER = {"DO", "FOR", "KEY", "ON", "THEN"}
"""Words before a word of CHANGES that is part of a clause, such as `FOR UPDATE`."""
DEFINITIONS = {"CREATE", "ALTER", "DROP", "TRUNCATE"}
BEFORE_A_TABLE = {"CONCURRENTLY", "EXISTS", "IF", "LATERAL", "NOT", "ONLY", "OR", "TABLE"}
BEFORE_A_TABLE |= {"ABORT", "FAIL", "IGNORE", "REPLACE", "ROLLBACK"}  # UPDATE OR IGNORE
ENDS_TABLES = {"WHERE", "SET", "GROUP", "ORDER", "HAVING", "WINDOW", "LIMIT", "RETURNING", "UNION"}

NAME = r'(?:"(?:[^"]|"")*"|`[^`]*`|[^\W\d][\w$]*)'
TOKEN = re.compile(
    rf"""
    (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<literal>
        [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)
        |(?:[bBnNxX]|[uU]&)?'(?:[^']|'')*(?:'|\Z)
        |\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)
        |(?<![\w$])(?:0[xX][\da-fA-F]+|(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
        |\b(?i:TRUE|FALSE)\b
    )
    |(?P<name>{NAME}(?:\s*\.\s*{NAME})*)
    |(?P<mark>[(),;])
    """,
    re.VERBOSE | re.DOTALL,
)


class Statement(NamedTuple):
    """The description of a statement for spans and metrics."""

    text: str
    attributes: dict[str, AttributeValue]
    is_transaction: bool
    """Whether it only begins or ends a transaction or a savepoint."""


@lru_cache(maxsize=512)
def describe(text: str, is_parameterized: bool) -> Statement:
    """Return the description of a statement. Literals remain in its text only if it is parameterized.

    `db.operation.name` and `db.collection.name` are there if the statement has just one.
    """
    parts = list(_summarize(text))
    operations = dict.fromkeys(value for is_operation, value in parts if is_operation)
    targets = dict.fromkeys(value for is_operation, value in parts if not is_operation)
    summary = ""
    for _, value in parts:
        if len(summary) + len(value) >= MAX_SUMMARY:
            break
        summary += f" {value}" if summary else value
    attributes: dict[str, AttributeValue] = {}
    if len(operations) == 1:
        attributes["db.operation.name"] = next(iter(operations))
    if len(targets) == 1:
        attributes["db.collection.name"] = next(iter(targets))
    if summary:
        attributes["db.query.summary"] = summary
    is_transaction = bool(operations) and {operation.upper() for operation in operations} <= TRANSACTIONS
    return Statement(text if is_parameterized else TOKEN.sub(_mask, text), attributes, is_transaction)


def _mask(found: re.Match[str]) -> str:
    return "?" if found["literal"] else "" if found["comment"] else found[0]


class _Scope:
    """A statement, or what is in a pair of parentheses."""

    def __init__(self) -> None:
        self.operation = ""
        self.lists_tables = False


def _summarize(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the operations (True) and tables (False) as they follow one another."""
    scopes = [_Scope()]
    previous, expects_table, definition = ";", False, ""
    for found in TOKEN.finditer(text):
        token, scope = found[0], scopes[-1]
        word = token.upper()
        if found["comment"]:
            continue
        if word == "(":
            scopes.append(_Scope())
        elif word == ")" and len(scopes) > 1:
            scopes.pop()
        elif word == ";":
            scopes = [_Scope()]
        elif word == ",":
            expects_table = scope.lists_tables
        elif definition and word in {"TABLE", "INDEX", "VIEW"}:
            yield True, f"{definition} {token}"
            definition, expects_table = "", word == "TABLE"
        elif previous == ";" and word in DEFINITIONS:
            definition = token
        elif word == "SELECT" or (word in CHANGES and previous not in NO_CHANGE_AFTER):
            yield True, token
            scope.operation, expects_table, scope.lists_tables = word, word == "UPDATE", False
        elif found["name"] and previous == ";":
            scope.operation = word
            if word != "WITH":
                yield True, token
            expects_table = False
        elif word in {"INTO", "JOIN"} or (
            word == "FROM" and scope.operation in READS_TABLES and previous != "DISTINCT"
        ):
            expects_table = True
            scope.lists_tables = word != "INTO"
        elif word in ENDS_TABLES:
            expects_table = scope.lists_tables = False
        elif expects_table and word not in BEFORE_A_TABLE:
            expects_table = False
            if found["name"]:
                yield False, re.sub(r'["`](\w+)["`]', r"\1", re.sub(r"\s*\.\s*", ".", token))
        previous = word
    if definition:
        yield True, definition
