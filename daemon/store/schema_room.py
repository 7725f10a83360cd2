"""Migration 0020: which results are there no more, which encoders are out of use since when, and what the workspace takes."""

from __future__ import annotations

ROOM = """
ALTER TABLE artifact ADD COLUMN cleared_at REAL;
UPDATE artifact SET cleared_at = created_at WHERE key IN (SELECT key FROM job WHERE state = 'cancelled' AND error_kind = 'withdrawn'
  AND stage IN ('predict', 'latent_map', 'gate_pictures', 'report'));
CREATE INDEX artifact_there ON artifact(stage, bytes) WHERE cleared_at IS NULL;
ALTER TABLE encoder ADD COLUMN unused_since REAL;
CREATE TABLE room (
  id INTEGER PRIMARY KEY CHECK (id = 1), kinds TEXT NOT NULL CHECK (json_valid(kinds) AND json_type(kinds) = 'object'),
  budget_bytes INTEGER NOT NULL CHECK (budget_bytes >= 0), at REAL NOT NULL
) STRICT;
"""
"""artifact.cleared_at: when its files were removed, NULL while they are there. encoder.unused_since: when it was first seen neither to
select nor to embed, NULL while it does. room.kinds: bytes of each kind, as it was measured at `at`; budget_bytes: 0 = none."""
