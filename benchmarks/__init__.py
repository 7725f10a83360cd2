"""Measurements against a named limit or peer; each module prints a table and appends nothing by itself."""
