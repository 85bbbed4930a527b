"""The history of the tables: `make migration M="add a column"` adds to it."""
