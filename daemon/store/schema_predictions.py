"""Migration 0010: how sure a model is of a volume, what that is worth on held-out patches, wishes, and the advice when to stop."""

from __future__ import annotations

PREDICTIONS = """
ALTER TABLE prediction ADD COLUMN confidence REAL CHECK (confidence BETWEEN 0 AND 1);
CREATE UNIQUE INDEX prediction_one_published ON prediction(volume_id) WHERE published = 1;
CREATE TABLE calibration (
  model TEXT NOT NULL REFERENCES model(version), label_id INTEGER NOT NULL REFERENCES label(id),
  confidence REAL CHECK (confidence BETWEEN 0 AND 1), PRIMARY KEY (model, label_id)
) STRICT;
CREATE TABLE prediction_wish (
  id INTEGER PRIMARY KEY CHECK (id = 1), newest_volume INTEGER NOT NULL, at REAL NOT NULL
) STRICT;
CREATE TABLE advice (
  round INTEGER PRIMARY KEY REFERENCES round(number), patches INTEGER NOT NULL CHECK (patches > 0), gain REAL, low REAL,
  high REAL, words TEXT NOT NULL CHECK (words <> ''), at REAL NOT NULL, CHECK (low <= gain AND gain <= high),
  CHECK ((gain IS NULL) = (low IS NULL) AND (gain IS NULL) = (high IS NULL))
) STRICT;
"""
"""prediction.confidence: one minus the mean entropy of the foreground, NULL where nothing was found or it was not looked at.
calibration.confidence: the same of one held-out patch. prediction_wish: `alscope predict --all`, of the volumes up to that
one. advice: what so many more patches will add to F1, after a round; NULL where that cannot be said, then words says why."""
