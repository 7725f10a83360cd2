"""Migration 0018: labels that were found on the disk and are not known to the database yet."""

from __future__ import annotations

FOUND = """
CREATE TABLE found_label (
  artifact TEXT PRIMARY KEY, volume_sha256 TEXT NOT NULL, box TEXT NOT NULL CHECK (json_valid(box)), suggestion TEXT NOT NULL,
  file TEXT NOT NULL, sha256 TEXT NOT NULL, author TEXT NOT NULL, note TEXT NOT NULL CHECK (json_valid(note)),
  role TEXT NOT NULL CHECK (role IN ('', 'train', 'gate')), result TEXT NOT NULL CHECK (json_valid(result)), at REAL NOT NULL
) STRICT;
"""
"""A row waits until the volume of its label is known again, and goes when the label is. suggestion: its name of then; file: the
label as it came, relative to the workspace; role: '' where nothing says it; result: of the stage label; at: when it came."""
