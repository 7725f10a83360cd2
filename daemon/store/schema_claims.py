"""Migration 0008: who works on what, why patches were skipped, blind repeats, and what was chosen from which pool."""

from __future__ import annotations

SKIP_REASONS = ("artefact", "out of focus", "nothing here", "too hard", "other")
"""Kinds of reasons that people skip a patch for, and what each does to later choices: patches like an artefact or one out of
focus are held back, those like one with nothing to label count as less foreground, one that is too hard is merely not asked
about again."""
TAKEN_BACK = "taken back"
"""The kind of a suggestion that nobody skipped: the daemon took it back for better ones, and may suggest it again."""
ENDINGS = ("released", "expired", "taken over", "answered", "skipped")

_KINDS = ", ".join(repr(kind) for kind in ("", *SKIP_REASONS, TAKEN_BACK))
_ENDINGS = ", ".join(repr(word) for word in ENDINGS)

CLAIMS = f"""
ALTER TABLE suggestion DROP COLUMN claimed_by;
ALTER TABLE suggestion ADD COLUMN skip_kind TEXT NOT NULL DEFAULT ''
  CHECK (skip_kind IN ({_KINDS}) AND (skip_kind = '' OR state = 'skipped'));
ALTER TABLE suggestion ADD COLUMN level TEXT NOT NULL DEFAULT '';
ALTER TABLE suggestion ADD COLUMN repeat_of TEXT REFERENCES suggestion(id);
DROP INDEX suggestion_patch;
CREATE UNIQUE INDEX suggestion_patch ON suggestion(patch_id) WHERE repeat_of IS NULL;
CREATE INDEX suggestion_of_patch ON suggestion(patch_id);
CREATE INDEX received_suggestion ON received(suggestion_id, id);
CREATE INDEX label_received ON label(received_id);
CREATE INDEX round_label_label ON round_label(label_id, round);
CREATE UNIQUE INDEX suggestion_repeat ON suggestion(repeat_of) WHERE repeat_of IS NOT NULL;
UPDATE suggestion SET state = 'open' WHERE state = 'claimed';
CREATE TABLE claim (
  id INTEGER PRIMARY KEY, suggestion_id TEXT NOT NULL REFERENCES suggestion(id), user TEXT NOT NULL CHECK (user <> ''),
  since REAL NOT NULL, left_s REAL NOT NULL CHECK (left_s >= 0), ended TEXT CHECK (ended IN ({_ENDINGS})), ended_at REAL,
  ended_by TEXT NOT NULL DEFAULT '', CHECK ((ended IS NULL) = (ended_at IS NULL)), CHECK (ended IS NOT NULL OR ended_by = '')
) STRICT;
CREATE UNIQUE INDEX claim_held ON claim(suggestion_id) WHERE ended IS NULL;
CREATE INDEX claim_suggestion ON claim(suggestion_id, id);
CREATE TRIGGER claim_of_claimed BEFORE INSERT ON claim WHEN NEW.ended IS NULL AND
  (SELECT state FROM suggestion WHERE id = NEW.suggestion_id) IS NOT 'claimed'
  BEGIN SELECT RAISE(ABORT, 'only a suggestion in the state claimed can be held by somebody'); END;
CREATE TRIGGER claimed_is_held BEFORE UPDATE OF state ON suggestion WHEN OLD.state = 'claimed' AND NEW.state <> 'claimed' AND
  EXISTS (SELECT 1 FROM claim WHERE suggestion_id = OLD.id AND ended IS NULL)
  BEGIN SELECT RAISE(ABORT, 'a suggestion that somebody holds stays claimed: end the claim first'); END;
CREATE TRIGGER repeat_of_same_patch BEFORE INSERT ON suggestion WHEN NEW.repeat_of IS NOT NULL AND NOT EXISTS
  (SELECT 1 FROM suggestion o WHERE o.id = NEW.repeat_of AND o.patch_id = NEW.patch_id AND o.repeat_of IS NULL)
  BEGIN SELECT RAISE(ABORT, 'a repeat asks again for the patch of another suggestion'); END;
CREATE TRIGGER repeat_trains_nothing BEFORE INSERT ON label WHEN EXISTS
  (SELECT 1 FROM received r JOIN suggestion s ON s.id = r.suggestion_id WHERE r.id = NEW.received_id AND s.repeat_of IS NOT NULL)
  BEGIN SELECT RAISE(ABORT, 'the label of a repeat neither trains nor judges models'); END;
CREATE TABLE repeat_label (
  received_id INTEGER PRIMARY KEY REFERENCES received(id), suggestion_id TEXT NOT NULL REFERENCES suggestion(id),
  artifact TEXT NOT NULL REFERENCES artifact(key), n_objects INTEGER NOT NULL CHECK (n_objects >= 0), author TEXT NOT NULL,
  warnings TEXT NOT NULL, accepted_at REAL NOT NULL
) STRICT;
CREATE INDEX repeat_label_suggestion ON repeat_label(suggestion_id, received_id);
CREATE TABLE agreement (
  first TEXT NOT NULL, second TEXT NOT NULL REFERENCES artifact(key), counts TEXT NOT NULL
  CHECK (json_valid(counts) AND json_type(counts) = 'object'), f1 REAL NOT NULL CHECK (f1 BETWEEN 0 AND 1),
  dice REAL NOT NULL CHECK (dice BETWEEN 0 AND 1), at REAL NOT NULL, PRIMARY KEY (first, second)
) STRICT;
"""
"""claim: one row for every time that somebody took a patch; held while `ended` is NULL, and then at most one of a suggestion, whose
state is "claimed". left_s: what is left of its lease in seconds of the daemon's own life (see `daemon.claims`). ended_by: who
took it over, or answered.

suggestion.skip_kind: one of `SKIP_REASONS` or `TAKEN_BACK`. level: name of the pool and the model that it was last compared
with. repeat_of: the suggestion whose patch is asked for a second time, blindly; such a suggestion is the only kind that shares
its patch, and what answers it is a row of repeat_label, never of label: it neither trains nor judges. agreement: two labels
(artifacts) of a patch compared; counts: `alcore.arrays.matching.Counts` with the first as the truth.
"""
