"""State: the schema, the only writing SQL, and the read-only report."""
