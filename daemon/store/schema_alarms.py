"""Migrations 0016: alarms, what became of each on every way out, the declared run; and 0017: indexes for who looks all the time."""

from __future__ import annotations

ALARMS = """
CREATE TABLE alarm (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL CHECK (kind <> ''), subject TEXT NOT NULL, message TEXT NOT NULL CHECK (message <> ''),
  lasting INTEGER NOT NULL CHECK (lasting IN (0, 1)), raised_at REAL NOT NULL, ended_at REAL,
  CHECK (lasting = 1 OR ended_at IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX alarm_lasts ON alarm(kind, subject) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX alarm_happened ON alarm(kind, subject) WHERE lasting = 0;
CREATE INDEX alarm_of ON alarm(kind, subject);
CREATE INDEX alarm_raised ON alarm(raised_at);
CREATE TABLE alarm_delivery (
  alarm_id INTEGER NOT NULL REFERENCES alarm(id) ON DELETE CASCADE, channel TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'told', 'given up')),
  attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0), not_before REAL NOT NULL, at REAL, error TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (alarm_id, channel), CHECK ((state = 'waiting') = (at IS NULL))
) STRICT;
CREATE INDEX alarm_waiting ON alarm_delivery(channel, alarm_id) WHERE state = 'waiting';
CREATE INDEX alarm_told ON alarm_delivery(channel, at) WHERE state = 'told';
CREATE TABLE expectation (
  id INTEGER PRIMARY KEY CHECK (id = 1), since REAL NOT NULL, every_s REAL NOT NULL CHECK (every_s > 0), until REAL
) STRICT;
"""
"""alarm.ended_at: when a condition was no longer true, NULL while it is; the moment itself of what happened once.
alarm_delivery.at: when it was told or given up; alarms that were told together have the same."""

LOOKS = """
CREATE INDEX job_volume_done ON job(stage, volume_id) WHERE state = 'done';
CREATE INDEX source_counts ON source(gone, state);
CREATE INDEX source_remarks ON source(id) WHERE state = 'ingested' AND reason <> '' AND gone = 0;
CREATE INDEX volume_warned ON volume(id) WHERE json_array_length(quality, '$.warnings') > 0;
"""
"""The dashboard reads the whole state twice a second: with ten thousand volumes these halve the time."""
