"""Migration 0011: the verdict of a round may put the pre-trained model to use, where no model is and the candidate is no better."""

from __future__ import annotations

from daemon.machine import BY_HAND

_BY_HAND = ", ".join(repr(state) for state in sorted(BY_HAND))

TRAINING = f"""
DROP TRIGGER model_promoted_on_record;
CREATE TRIGGER model_promoted_on_record BEFORE UPDATE OF state ON model
  WHEN NEW.state = 'promoted' AND OLD.state <> 'promoted' AND NOT EXISTS (
    SELECT 1 FROM promotion p WHERE p.id = (SELECT MAX(id) FROM promotion) AND p.model = NEW.version
    AND (p.how <> 'round' OR OLD.state NOT IN ({_BY_HAND})))
  BEGIN SELECT RAISE(ABORT, 'a model comes into use on record only, and a second time only by hand'); END;
"""
