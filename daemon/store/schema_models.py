"""What keeps models honest: no patch both trains and judges, no model comes into use unrecorded."""

from __future__ import annotations

from daemon.machine import BY_HAND, MODEL_TRANSITIONS

_ALLOWED = ", ".join(f"('{a}', '{b}')" for a, b in sorted(MODEL_TRANSITIONS))
_BY_HAND = ", ".join(repr(state) for state in sorted(BY_HAND))
_LEAKS = (
    "EXISTS (SELECT 1 FROM patch n JOIN patch o ON o.volume_id = n.volume_id"
    " AND n.z < o.z + o.dz AND o.z < n.z + n.dz AND n.y < o.y + o.dy AND o.y < n.y + n.dy"
    " AND n.x < o.x + o.dx AND o.x < n.x + n.dx JOIN label l ON l.patch_id = o.id"
    " WHERE n.id = NEW.patch_id AND l.id <> NEW.id AND l.role <> NEW.role)"
)
_LEAK = "'leak: this patch overlaps one whose label has the other role, and no voxel may both train and judge'"

MODELS = f"""
ALTER TABLE model ADD COLUMN ruling TEXT NOT NULL DEFAULT '';
ALTER TABLE label ADD COLUMN role_reason TEXT NOT NULL DEFAULT '';
CREATE TABLE promotion (
  id INTEGER PRIMARY KEY, model TEXT NOT NULL REFERENCES model(version), previous TEXT REFERENCES model(version),
  how TEXT NOT NULL CHECK (how IN ('round', 'hand', 'rollback')), who TEXT NOT NULL, reason TEXT NOT NULL CHECK (reason <> ''),
  at REAL NOT NULL, CHECK (model <> previous), CHECK (how <> 'rollback' OR previous IS NOT NULL)
) STRICT;
INSERT INTO promotion (model, previous, how, who, reason, at)
  SELECT model, LAG(model) OVER (ORDER BY number), 'round', '', CASE verdict WHEN '' THEN 'promoted' ELSE verdict END, finished_at
  FROM round WHERE promoted = 1 AND model IS NOT NULL ORDER BY number;
CREATE INDEX label_patch ON label(patch_id);
CREATE TRIGGER label_leak_insert AFTER INSERT ON label WHEN {_LEAKS} BEGIN SELECT RAISE(ABORT, {_LEAK}); END;
CREATE TRIGGER label_leak_update AFTER UPDATE OF role, patch_id ON label WHEN {_LEAKS} BEGIN SELECT RAISE(ABORT, {_LEAK}); END;
CREATE TRIGGER label_role_frozen BEFORE UPDATE OF role, patch_id ON label
  WHEN (NEW.role <> OLD.role OR NEW.patch_id <> OLD.patch_id) AND EXISTS (SELECT 1 FROM round_label r WHERE r.label_id = OLD.id)
  BEGIN SELECT RAISE(ABORT, 'leak: a round has used this label; its role and place are fixed'); END;
CREATE TRIGGER round_label_role BEFORE INSERT ON round_label
  WHEN NEW.role IS NOT (SELECT role FROM label WHERE id = NEW.label_id)
  BEGIN SELECT RAISE(ABORT, 'leak: a round uses every label in the role that it was given'); END;
CREATE TRIGGER round_label_frozen BEFORE UPDATE ON round_label
  BEGIN SELECT RAISE(ABORT, 'leak: the labels of a round are frozen'); END;
CREATE TRIGGER round_label_kept BEFORE DELETE ON round_label
  BEGIN SELECT RAISE(ABORT, 'leak: what a model was trained and judged on is never forgotten'); END;
CREATE TRIGGER patch_leak BEFORE UPDATE OF volume_id, z, y, x, dz, dy, dx ON patch
  WHEN EXISTS (SELECT 1 FROM label l WHERE l.patch_id = OLD.id)
  BEGIN SELECT RAISE(ABORT, 'leak: a labelled patch stays where it is'); END;
CREATE TRIGGER model_transition BEFORE UPDATE OF state ON model
  WHEN NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (VALUES {_ALLOWED})
  BEGIN SELECT RAISE(ABORT, 'a model cannot change its state like that'); END;
CREATE TRIGGER model_promoted_on_record BEFORE UPDATE OF state ON model
  WHEN NEW.state = 'promoted' AND OLD.state <> 'promoted' AND NOT EXISTS (
    SELECT 1 FROM promotion p WHERE p.id = (SELECT MAX(id) FROM promotion) AND p.model = NEW.version
    AND (p.how <> 'round' OR OLD.state NOT IN ({_BY_HAND})))
  BEGIN SELECT RAISE(ABORT, 'a model comes into use on record only, and a second time only by hand'); END;
"""
"""model.ruling: the court's word (see `alcore.arrays.court.Ruling`), empty where there was none. label.role_reason: why it trains
or judges. promotion: every change of the model in use; a rollback names the model that came back. how 'round': by verdict.

Leaks: labels that were superseded or withdrawn count as well, because a model may have learned from them. Two volumes with the
same content in part are beyond what a database can see; files with the same bytes are one volume anyway.
"""
