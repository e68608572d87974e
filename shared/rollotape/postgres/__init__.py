"""One repository per group of tables, SQL beside it."""
