"""Migration 0007: what was said with a label, labels that were withdrawn, and ground truth that was imported."""

from __future__ import annotations

LABELS = """
ALTER TABLE received ADD COLUMN note TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(note) AND json_type(note) = 'object');
ALTER TABLE label ADD COLUMN seen REAL NOT NULL DEFAULT 1 CHECK (seen > 0 AND seen <= 1);
ALTER TABLE label ADD COLUMN withdrawn_at REAL CHECK (withdrawn_at IS NULL OR superseded_by IS NOT NULL);
CREATE TABLE truth (
  id INTEGER PRIMARY KEY, volume_id INTEGER NOT NULL REFERENCES volume(id), path BLOB NOT NULL,
  fingerprint TEXT NOT NULL CHECK (json_valid(fingerprint)),
  options TEXT NOT NULL CHECK (json_valid(options) AND json_type(options) = 'object'), author TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('reading', 'done', 'failed')), outcome TEXT NOT NULL DEFAULT '', asked_at REAL NOT NULL,
  CHECK ((state = 'reading') = (outcome = ''))
) STRICT;
CREATE INDEX truth_reading ON truth(id) WHERE state = 'reading';
UPDATE job SET state = 'cancelled', lease = NULL WHERE state IN ('waiting', 'ready', 'running')
  AND stage IN ('package', 'label');
"""
"""received.note: what came with the file (who, how long, which part was looked at), as `daemon.commands.leave_label_note` was
given it. label.seen: share of the patch that was looked at.

label.withdrawn_at: when it was undone. A label that is undone is superseded by the one that counts again in its place, or by
itself where there is none: everywhere, a label that counts is one with superseded_by NULL.

truth: ground truth of a whole volume that somebody asked to be cut into labels; outcome: what became of it, in words.
Packages and checks that had not begun are planned anew: both stages work otherwise now.
"""
