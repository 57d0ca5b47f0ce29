"""Search over results: files to passages, passages to an index, an index and a query to hits."""
