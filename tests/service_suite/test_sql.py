"""Commands and tables of SQL statements, and their text without values."""

from __future__ import annotations

import time

import pytest
from order_service.observability.sql import MAX_SUMMARY, MAX_TEXT, describe


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        # From the convention.
        ("SELECT *\nFROM   wuser_table\nWHERE  username = ?", "SELECT wuser_table"),
        (
            "INSERT INTO shipping_details (order_id, address) SELECT order_id, address FROM orders WHERE order_id = ?",
            "INSERT shipping_details SELECT orders",
        ),
        ("SELECT * FROM songs, artists WHERE songs.artist_id == artists.id", "SELECT songs artists"),
        (
            "SELECT order_date FROM (SELECT * FROM orders o JOIN customers c ON o.customer_id = c.customer_id)",
            "SELECT SELECT orders customers",
        ),
        ('SELECT * FROM "song list"', 'SELECT "song list"'),
        # From ORMs.
        ('INSERT INTO "orders" ("id") VALUES (%s)', "INSERT orders"),
        ('UPDATE "public"."orders" SET "a" = %s, "b" = 1 FROM items', "UPDATE public.orders items"),
        ("SELECT a.id FROM a LEFT OUTER JOIN b ON a.id = b.id, c FOR UPDATE", "SELECT a b c"),
        ("CREATE TABLE IF NOT EXISTS orders (id int REFERENCES x ON DELETE CASCADE)", "CREATE TABLE orders"),
        ("CREATE UNIQUE INDEX ix ON orders (id)", "CREATE INDEX"),
        # A word that is not a command, or does not precede a table.
        ("SELECT EXTRACT(YEAR FROM created_at) FROM orders", "SELECT orders"),
        ("select a IS DISTINCT FROM b from orders", "select orders"),
        ("INSERT INTO orders VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2", "INSERT orders"),
        ("SELECT 'DELETE FROM secrets' FROM orders -- UPDATE x", "SELECT orders"),
        ("WITH x AS (SELECT 1 FROM orders) DELETE FROM x", "SELECT orders DELETE x"),
        ("SELECT 1; PRAGMA foreign_keys", "SELECT PRAGMA"),
        ("", ""),
        (")))", ""),
    ],
)
def test_summary(text: str, summary: str) -> None:
    assert describe(text, True).attributes.get("db.query.summary", "") == summary


def test_operation_and_collection_are_set_if_there_is_just_one() -> None:
    one, several = (
        describe("DELETE FROM a", True).attributes,
        describe("INSERT INTO a SELECT * FROM b", True).attributes,
    )
    assert (one["db.operation.name"], one["db.collection.name"]) == ("DELETE", "a")
    assert several.keys() == {"db.query.summary"}


def test_a_long_summary_ends_with_a_name() -> None:
    summary = describe("SELECT * FROM " + ", ".join(f"table_{number:02}" for number in range(99)), True).attributes
    assert str(summary["db.query.summary"]).split()[-1] == "table_26"
    assert len(str(summary["db.query.summary"])) <= MAX_SUMMARY


@pytest.mark.parametrize("text", ["BEGIN", "COMMIT", "ROLLBACK TO SAVEPOINT x", "SAVEPOINT s1_x1", "release x", "END"])
def test_transactions(text: str) -> None:
    assert describe(text, False).is_transaction
    assert not describe(f"SELECT 1; {text}", False).is_transaction


@pytest.mark.parametrize(
    "literal",
    [
        *("'secret'", "'it''s secret'", r"E'it\'s secret'", "X'5EC2E7'", "$$secret$$", "$a$secret$$ $a$", "'secret"),
        *("5", "5.5", ".5", "5e-5", "0x5F", "5_000", "TRUE", "false"),
    ],
)
def test_a_literal_is_left_out_unless_the_text_is_parameterized(literal: str) -> None:
    text = f'SELECT a1, "b 2" FROM t_3 WHERE c = {literal}'
    assert describe(text, False).text == 'SELECT a1, "b 2" FROM t_3 WHERE c = ?'
    assert describe(text, True).text == text


def test_a_comment_is_left_out_as_well() -> None:
    assert describe("SELECT a /* 'secret */ FROM b -- 5", False).text == "SELECT a  FROM b "


@pytest.mark.parametrize(
    "part", ["'", '"', "(", "a.", "(%s, %s), ", "/*", "$a$", "$a", "0.", "1_", "--", "\0", "\udce9"]
)
def test_no_text_takes_long_or_fails(part: str) -> None:
    start = time.process_time()
    describe((part * MAX_TEXT)[:MAX_TEXT], False)
    assert time.process_time() - start < 1
