"""The schema, as migrations. Illegal rows are unstorable: states by CHECK, doubles by partial unique indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.machine import JOB_STATES, MODEL_STATES, SUGGESTION_STATES
from daemon.store.connection import import_sqlite_utils
from daemon.store.schema_alarms import ALARMS, LOOKS
from daemon.store.schema_claims import CLAIMS
from daemon.store.schema_found import FOUND
from daemon.store.schema_labels import LABELS
from daemon.store.schema_models import MODELS
from daemon.store.schema_predictions import PREDICTIONS
from daemon.store.schema_room import ROOM
from daemon.store.schema_seen import SEEN_MASKS
from daemon.store.schema_training import TRAINING

if TYPE_CHECKING:
    from sqlite_utils import Database, Migrations


def _in(column: str, values: tuple[str, ...]) -> str:
    return f"CHECK ({column} IN ({', '.join(repr(v) for v in values)}))"


SOURCE_STATES = ("arriving", "settled", "ingested", "set_aside")
ROUND_STATES = ("training", "judging", "done", "failed")

FIRST = f"""
CREATE TABLE daemon (
  id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL, pid INTEGER, version TEXT, started_at REAL, seen_at REAL,
  paused_until REAL, note TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE source (
  id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, name TEXT NOT NULL, watch INTEGER NOT NULL,
  state TEXT NOT NULL {_in("state", SOURCE_STATES)}, size INTEGER NOT NULL, fingerprint TEXT NOT NULL,
  reason TEXT NOT NULL DEFAULT '', gone INTEGER NOT NULL DEFAULT 0 CHECK (gone IN (0, 1)),
  volume_id INTEGER REFERENCES volume(id), first_seen REAL NOT NULL, changed_at REAL NOT NULL,
  CHECK (state <> 'ingested' OR volume_id IS NOT NULL), CHECK (state <> 'set_aside' OR reason <> '')
) STRICT;
CREATE INDEX source_state ON source(state);
CREATE INDEX source_volume ON source(volume_id);
CREATE TABLE artifact (
  key TEXT PRIMARY KEY, stage TEXT NOT NULL, bytes INTEGER NOT NULL, seconds REAL NOT NULL, created_at REAL NOT NULL
) STRICT;
CREATE TABLE volume (
  id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, name TEXT NOT NULL, export_name TEXT NOT NULL UNIQUE,
  artifact TEXT NOT NULL REFERENCES artifact(key), info TEXT NOT NULL, read TEXT NOT NULL, notes TEXT NOT NULL,
  created_at REAL NOT NULL
) STRICT;
CREATE TABLE patch (
  id INTEGER PRIMARY KEY, volume_id INTEGER NOT NULL REFERENCES volume(id), row INTEGER NOT NULL,
  z INTEGER NOT NULL, y INTEGER NOT NULL, x INTEGER NOT NULL,
  dz INTEGER NOT NULL CHECK (dz > 0), dy INTEGER NOT NULL CHECK (dy > 0), dx INTEGER NOT NULL CHECK (dx > 0),
  UNIQUE (volume_id, row), UNIQUE (volume_id, z, y, x, dz, dy, dx)
) STRICT;
CREATE TABLE job (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, stage TEXT NOT NULL, spec TEXT NOT NULL,
  volume_id INTEGER REFERENCES volume(id), subject TEXT NOT NULL, state TEXT NOT NULL {_in("state", JOB_STATES)},
  priority INTEGER NOT NULL, inputs TEXT NOT NULL, params TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0), fence INTEGER NOT NULL DEFAULT 0,
  not_before REAL NOT NULL DEFAULT 0, lease TEXT, heartbeat REAL,
  progress REAL NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1), note TEXT NOT NULL DEFAULT '',
  error TEXT NOT NULL DEFAULT '', error_kind TEXT NOT NULL DEFAULT '', result TEXT,
  created_at REAL NOT NULL, started_at REAL, finished_at REAL,
  CHECK ((state = 'running') = (lease IS NOT NULL)), CHECK (state <> 'done' OR result IS NOT NULL),
  CHECK (state <> 'failed' OR error <> '')
) STRICT;
CREATE INDEX job_state ON job(state, priority DESC, id);
CREATE INDEX job_subject ON job(stage, subject);
CREATE INDEX job_volume ON job(stage, spec, volume_id);
CREATE TABLE job_event (
  id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL REFERENCES job(id), at REAL NOT NULL,
  start TEXT NOT NULL, finish TEXT NOT NULL, note TEXT NOT NULL
) STRICT;
CREATE INDEX job_event_job ON job_event(job_id);
CREATE TABLE encoder (
  id INTEGER PRIMARY KEY, artifact TEXT NOT NULL UNIQUE REFERENCES artifact(key),
  state TEXT NOT NULL CHECK (state IN ('embedding', 'current', 'retired')),
  n_patches INTEGER NOT NULL, result TEXT NOT NULL, created_at REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX encoder_one_current ON encoder(state) WHERE state = 'current';
CREATE TABLE suggestion (
  id TEXT PRIMARY KEY, patch_id INTEGER NOT NULL REFERENCES patch(id), rank INTEGER NOT NULL, distance REAL,
  reason TEXT NOT NULL, state TEXT NOT NULL {_in("state", SUGGESTION_STATES)}, note TEXT NOT NULL DEFAULT '',
  package TEXT REFERENCES artifact(key), published INTEGER NOT NULL DEFAULT 0, claimed_by TEXT,
  created_at REAL NOT NULL, changed_at REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX suggestion_patch ON suggestion(patch_id);
CREATE INDEX suggestion_state ON suggestion(state);
CREATE TABLE received (
  id INTEGER PRIMARY KEY, suggestion_id TEXT NOT NULL REFERENCES suggestion(id), file TEXT NOT NULL UNIQUE,
  sha256 TEXT NOT NULL, confirm_empty INTEGER NOT NULL DEFAULT 0, author TEXT NOT NULL DEFAULT '',
  inbox_path BLOB NOT NULL, filed INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL CHECK (state IN ('checking', 'accepted', 'rejected')), reason TEXT NOT NULL DEFAULT '',
  received_at REAL NOT NULL
) STRICT;
CREATE TABLE label (
  id INTEGER PRIMARY KEY, patch_id INTEGER NOT NULL REFERENCES patch(id), artifact TEXT NOT NULL REFERENCES artifact(key),
  received_id INTEGER NOT NULL REFERENCES received(id), origin TEXT NOT NULL CHECK (origin = 'human'),
  role TEXT NOT NULL CHECK (role IN ('train', 'gate')), n_objects INTEGER NOT NULL, author TEXT NOT NULL,
  warnings TEXT NOT NULL, superseded_by INTEGER REFERENCES label(id), accepted_at REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX label_current ON label(patch_id) WHERE superseded_by IS NULL;
CREATE TABLE model (
  id INTEGER PRIMARY KEY, version TEXT NOT NULL UNIQUE, kind TEXT NOT NULL CHECK (kind IN ('pretrained', 'finetuned')),
  state TEXT NOT NULL {_in("state", MODEL_STATES)}, artifact TEXT NOT NULL UNIQUE REFERENCES artifact(key),
  parent TEXT REFERENCES model(version), n_labels INTEGER NOT NULL, labels_digest TEXT NOT NULL, scores TEXT,
  verdict TEXT NOT NULL DEFAULT '', created_at REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX model_one_promoted ON model(state) WHERE state = 'promoted';
CREATE TABLE round (
  number INTEGER PRIMARY KEY, state TEXT NOT NULL {_in("state", ROUND_STATES)}, labels_digest TEXT NOT NULL,
  n_labels INTEGER NOT NULL, n_gate INTEGER NOT NULL, fraction REAL NOT NULL, model TEXT REFERENCES model(version),
  promoted INTEGER, scores TEXT, baseline TEXT, verdict TEXT NOT NULL DEFAULT '', started_at REAL NOT NULL, finished_at REAL
) STRICT;
CREATE UNIQUE INDEX round_one_active ON round(state) WHERE state IN ('training', 'judging');
CREATE TABLE round_label (
  round INTEGER NOT NULL REFERENCES round(number), label_id INTEGER NOT NULL REFERENCES label(id),
  role TEXT NOT NULL CHECK (role IN ('train', 'gate')), PRIMARY KEY (round, label_id)
) STRICT;
CREATE TABLE evaluation (
  job_key TEXT PRIMARY KEY, model TEXT, labels_digest TEXT NOT NULL, scores TEXT NOT NULL, per_label TEXT NOT NULL,
  created_at REAL NOT NULL
) STRICT;
CREATE TABLE prediction (
  volume_id INTEGER NOT NULL REFERENCES volume(id), model TEXT NOT NULL REFERENCES model(version),
  artifact TEXT NOT NULL REFERENCES artifact(key), published INTEGER NOT NULL DEFAULT 0, n_objects INTEGER NOT NULL,
  created_at REAL NOT NULL, PRIMARY KEY (volume_id, model)
) STRICT;
CREATE TABLE problem (
  kind TEXT NOT NULL, subject TEXT NOT NULL, message TEXT NOT NULL, first_seen REAL NOT NULL, last_seen REAL NOT NULL,
  PRIMARY KEY (kind, subject)
) STRICT;
CREATE TABLE event (
  id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL
) STRICT;
CREATE TABLE command (
  id TEXT PRIMARY KEY, verb TEXT NOT NULL, arguments TEXT NOT NULL, ok INTEGER NOT NULL, outcome TEXT NOT NULL, at REAL NOT NULL
) STRICT;
"""

PARTS = """
ALTER TABLE volume ADD COLUMN folder TEXT NOT NULL DEFAULT '';
ALTER TABLE volume ADD COLUMN part TEXT NOT NULL DEFAULT '';
ALTER TABLE volume ADD COLUMN quality TEXT NOT NULL DEFAULT '{}';
CREATE TABLE source_part (
  source_id INTEGER NOT NULL REFERENCES source(id), volume_id INTEGER NOT NULL REFERENCES volume(id),
  current INTEGER NOT NULL DEFAULT 1 CHECK (current IN (0, 1)), since REAL NOT NULL, until REAL,
  PRIMARY KEY (source_id, volume_id), CHECK ((current = 0) = (until IS NOT NULL))
) STRICT;
CREATE INDEX source_part_volume ON source_part(volume_id);
ALTER TABLE source ADD COLUMN members TEXT;
ALTER TABLE source ADD COLUMN newest REAL NOT NULL DEFAULT 0;
ALTER TABLE source ADD COLUMN away INTEGER NOT NULL DEFAULT 0 CHECK (away IN (0, 1));
ALTER TABLE source ADD COLUMN quiet_since REAL;
ALTER TABLE source ADD COLUMN wait_s REAL;
CREATE TABLE watched (folder BLOB PRIMARY KEY, identity TEXT NOT NULL) STRICT;
INSERT INTO source_part (source_id, volume_id, since) SELECT id, volume_id, changed_at FROM source
  WHERE volume_id IS NOT NULL;
"""
"""A source may hold several volumes, and may have held others before: those links are kept and not current any more.

source.members: names of the files of a set, JSON. newest: modification time of its newest file. away: its folder cannot be
reached just now. quiet_since, wait_s: what an arriving source waits for. watched.identity: see `daemon.ingest.identity_of`.
"""


FINGERPRINTS = """
UPDATE source SET newest = json_extract(fingerprint, '$.mtime_ns') / 1e9, fingerprint = printf(
  '{"content": "%d:%d:%d", "files": 1, "mtime_ns": %d, "size": %d, "status": "%d"}',
  json_extract(fingerprint, '$.ino'), json_extract(fingerprint, '$.size'), json_extract(fingerprint, '$.mtime_ns'),
  json_extract(fingerprint, '$.mtime_ns'), json_extract(fingerprint, '$.size'), json_extract(fingerprint, '$.ctime_ns'))
  WHERE fingerprint LIKE '%"ctime_ns"%';
UPDATE job SET state = 'cancelled', lease = NULL WHERE stage = 'volume' AND state IN ('waiting', 'ready', 'running')
  AND params LIKE '%"ctime_ns"%';
"""
"""The first fingerprints spoke of single files only: they are said in the words of `alcore.fileset.Fingerprint`, so that no
file has to be read again. Reading that had not begun is planned anew, under the new names."""

SCALE = """
ALTER TABLE volume ADD COLUMN n_patches INTEGER NOT NULL DEFAULT 0;
UPDATE volume SET n_patches = (SELECT COUNT(*) FROM patch p WHERE p.volume_id = volume.id);
CREATE INDEX volume_patches ON volume(n_patches);
CREATE INDEX volume_export_name ON volume(export_name COLLATE NOCASE);
CREATE INDEX job_unfinished ON job(stage, spec) WHERE state IN ('waiting', 'ready', 'running');
CREATE INDEX job_done ON job(stage, spec, volume_id, key) WHERE state = 'done';
UPDATE job SET subject = 'pretrain:' || json_array_length(inputs, '$.volume') WHERE stage = 'pretrain';
"""
"""What ten thousand volumes need. The patches of a volume never change, so they are counted once. A pre-training names the
number of volumes that its patches were chosen from; it was the number of its inputs."""

ENCODER_KINDS = ("descriptor", "mae")
ENCODER_STATES = ("embedding", "current", "retired", "rejected")
ARMS = ("selected", "control", "asked")
"""Who chose a suggestion: the strategy, chance, or a person who took it out of the QC queue."""

SELECTION = f"""
CREATE TABLE encoder_2 (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL {_in("kind", ENCODER_KINDS)}, recipe TEXT NOT NULL UNIQUE,
  artifact TEXT REFERENCES artifact(key), state TEXT NOT NULL {_in("state", ENCODER_STATES)}, design TEXT NOT NULL,
  n_patches INTEGER NOT NULL CHECK (n_patches >= 0), result TEXT NOT NULL CHECK (json_valid(result) AND json_type(result) = 'object'),
  reason TEXT NOT NULL DEFAULT '', created_at REAL NOT NULL,
  CHECK ((state = 'rejected') = (artifact IS NULL)), CHECK (artifact IS NULL OR artifact = recipe),
  CHECK ((state = 'rejected') = (reason <> ''))
) STRICT;
INSERT INTO encoder_2 (id, kind, recipe, artifact, state, design, n_patches, result, created_at)
  SELECT id, 'mae', artifact, artifact, state, '', n_patches, result, created_at FROM encoder;
DROP TABLE encoder;
ALTER TABLE encoder_2 RENAME TO encoder;
CREATE UNIQUE INDEX encoder_one_current ON encoder(state) WHERE state = 'current';
CREATE UNIQUE INDEX encoder_one_embedding ON encoder(state) WHERE state = 'embedding';
ALTER TABLE suggestion ADD COLUMN arm TEXT NOT NULL DEFAULT 'selected' {_in("arm", ARMS)};
ALTER TABLE suggestion ADD COLUMN why TEXT NOT NULL DEFAULT '{{}}' CHECK (json_valid(why) AND json_type(why) = 'object');
ALTER TABLE suggestion ADD COLUMN nearest INTEGER REFERENCES patch(id);
ALTER TABLE suggestion ADD COLUMN neighbours TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(neighbours) AND json_type(neighbours) = 'array');
CREATE TABLE qc (
  patch_id INTEGER PRIMARY KEY REFERENCES patch(id), reason TEXT NOT NULL CHECK (reason <> ''), score REAL NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('held', 'suggested')), found_at REAL NOT NULL
) STRICT;
CREATE INDEX qc_held ON qc(score) WHERE state = 'held';
CREATE TABLE novelty (
  volume_id INTEGER NOT NULL REFERENCES volume(id), encoder_id INTEGER NOT NULL REFERENCES encoder(id),
  max REAL, median REAL, row INTEGER, nearest INTEGER REFERENCES patch(id),
  duplicates INTEGER NOT NULL CHECK (duplicates >= 0), alarm TEXT NOT NULL DEFAULT '', at REAL NOT NULL,
  PRIMARY KEY (volume_id, encoder_id), CHECK ((max IS NULL) = (median IS NULL)), CHECK (max >= median),
  CHECK (alarm = '' OR median IS NOT NULL)
) STRICT;
CREATE INDEX novelty_encoder ON novelty(encoder_id, volume_id);
CREATE INDEX novelty_alarm ON novelty(volume_id) WHERE alarm <> '';
CREATE TABLE control (
  round INTEGER PRIMARY KEY REFERENCES round(number), n INTEGER NOT NULL CHECK (n >= 0),
  n_gate INTEGER NOT NULL CHECK (n_gate >= 0), metric TEXT NOT NULL, selected REAL, control REAL, difference REAL,
  low REAL, high REAL, words TEXT NOT NULL CHECK (words <> ''), at REAL NOT NULL, CHECK (low <= high),
  CHECK ((difference IS NULL) = (low IS NULL) AND (difference IS NULL) = (high IS NULL))
) STRICT;
ALTER TABLE job ADD COLUMN long INTEGER NOT NULL DEFAULT 0 CHECK (long IN (0, 1));
CREATE INDEX job_given_up ON job(stage, spec, volume_id) WHERE state IN ('failed', 'cancelled');
UPDATE job SET long = 1 WHERE stage IN ('encoder', 'pretrain', 'finetune', 'evaluate', 'predict');
UPDATE job SET inputs = '{{}}', params = '{{}}' WHERE stage IN ('encoder', 'suggestions') AND state = 'done';
UPDATE job SET state = 'cancelled', lease = NULL WHERE state IN ('waiting', 'ready', 'running')
  AND stage IN ('encoder', 'embedding', 'suggestions', 'package', 'predict');
"""
"""Several kinds of encoders, those that failed their self-test among them; why a patch was suggested; what looks broken; how new
each volume was; whether selection helps. encoder.recipe: key of its job; design: `daemon.policy.design` of its params, empty
for those of before. suggestion.nearest: the covered patch that it lay nearest to; neighbours: [{"patch", "distance"}] of
labelled ones. job.long: the lane it runs in.

What jobs on the whole pool worked on is forgotten (see `Jobs.forget`). Stages that work otherwise now are planned anew.
"""


PSEUDO_CHOICE = """
CREATE TABLE pseudo_choice (
  id INTEGER PRIMARY KEY CHECK (id = 1), chosen TEXT NOT NULL CHECK (chosen <> ''), why TEXT NOT NULL CHECK (why <> ''),
  at REAL NOT NULL
) STRICT;
"""
"""What `pseudo.backend = "auto"` means now: a backend, or the version of the model that serves as one."""


def migrations() -> Migrations:
    """Every migration in order; each is applied once, together with the record of it."""
    found: Migrations = import_sqlite_utils().Migrations("alscope")

    @found(name="0001_first")
    def first(db: Database) -> None:
        _run(db, FIRST)

    @found(name="0002_parts")
    def parts(db: Database) -> None:
        _run(db, PARTS)

    @found(name="0003_fingerprints")
    def fingerprints(db: Database) -> None:
        _run(db, FINGERPRINTS)

    @found(name="0004_scale")
    def scale(db: Database) -> None:
        _run(db, SCALE)

    @found(name="0005_selection")
    def selection(db: Database) -> None:
        _run(db, SELECTION)

    @found(name="0006_pseudo_choice")
    def pseudo_choice(db: Database) -> None:
        _run(db, PSEUDO_CHOICE)

    @found(name="0007_labels")
    def labels(db: Database) -> None:
        _run(db, LABELS)

    @found(name="0008_claims")
    def claims(db: Database) -> None:
        _run(db, CLAIMS)

    @found(name="0009_models")
    def models(db: Database) -> None:
        _run(db, MODELS)

    @found(name="0010_predictions")
    def predictions(db: Database) -> None:
        _run(db, PREDICTIONS)

    @found(name="0011_training")
    def training(db: Database) -> None:
        _run(db, TRAINING)

    @found(name="0013_seen_masks")
    def seen_masks(db: Database) -> None:
        _run(db, SEEN_MASKS)

    @found(name="0016_alarms")
    def alarms(db: Database) -> None:
        _run(db, ALARMS)

    @found(name="0017_looks")
    def looks(db: Database) -> None:
        _run(db, LOOKS)

    @found(name="0018_found")
    def found_labels(db: Database) -> None:
        _run(db, FOUND)

    @found(name="0020_room")
    def room(db: Database) -> None:
        _run(db, ROOM)

    return found


def _run(db: Database, script: str) -> None:
    """One statement after the other: executescript would commit the migration's transaction."""
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)
