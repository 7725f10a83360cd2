"""Migration 0013: a label may come with a mask file that says which part was looked at."""

from __future__ import annotations

SEEN_MASKS = """
ALTER TABLE received ADD COLUMN seen_path BLOB;
ALTER TABLE received ADD COLUMN seen_sha256 TEXT NOT NULL DEFAULT '' CHECK ((seen_sha256 = '') = (seen_path IS NULL));
"""
"""received.seen_path: where the mask lay in the inbox; NULL for none. It is filed with its label, under the same name."""
