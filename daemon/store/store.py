"""The store: one writing connection, its schema brought up to date, and a room for each part of the state."""

from __future__ import annotations

import sqlite3
import time
from contextlib import AbstractContextManager
from pathlib import Path

from alcore.disk import full_words
from daemon.effort import Effort, fit
from daemon.errors import AlscopeError, DamagedError, NoRoomError, WorkspaceError
from daemon.store.age import newer_words, pending, unknown
from daemon.store.alarms import Alarms
from daemon.store.annotating import Annotating
from daemon.store.annotation import Annotation
from daemon.store.backups import UPDATE, back_up
from daemon.store.claim_listing import QueueState, queue_state
from daemon.store.claims import Claims
from daemon.store.connection import DATABASE, damaged_words, is_damage, open_writer, out_of_room, transaction
from daemon.store.encoders import Encoders
from daemon.store.found import Found
from daemon.store.integrity import applied
from daemon.store.jobs import Jobs
from daemon.store.kept import Kept
from daemon.store.labels import Labels
from daemon.store.learning import Learning
from daemon.store.ledger import entries, timed
from daemon.store.models import Models
from daemon.store.outgrown import OutgrownSegmentations
from daemon.store.predictions import Predictions
from daemon.store.repeats import Repeats
from daemon.store.reports import Reports
from daemon.store.room import Room
from daemon.store.schema import migrations
from daemon.store.selection import Selection
from daemon.store.sources import Sources
from daemon.store.state import State
from daemon.store.training import Training
from daemon.store.truth import Truth
from daemon.store.volumes import Volumes


class Store:
    """Everything that can change. Only the daemon has one, and only one thread of it uses it."""

    def __init__(self, workspace: Path) -> None:
        """Raises WorkspaceError, DamagedError when the database is damaged, NoRoomError when the disk is full.

        A database of an older alscope is copied to backups/ before it is changed.
        """
        self.path = workspace / DATABASE
        self._db = open_writer(self.path)
        if newer := unknown(self._db.conn):
            self._db.close()
            raise WorkspaceError(newer_words(self.path, newer))
        try:
            if pending(self._db.conn) and applied(self._db.conn):
                back_up(workspace, UPDATE, time.time())
            migrations().apply(self._db)
        except sqlite3.OperationalError as e:
            self._db.close()
            if out_of_room(self.path, e):
                raise NoRoomError(full_words(workspace)) from e
            raise WorkspaceError(
                f"{self.path}: the database cannot be written ({e}); is its disk mounted read-only?"
            ) from e
        except sqlite3.DatabaseError as e:
            self._db.close()
            if not is_damage(e):
                raise
            raise DamagedError(damaged_words(self.path, str(e))) from e
        except AlscopeError:
            self._db.close()
            raise
        self.sources = Sources(self._db)
        self.volumes = Volumes(self._db)
        self.jobs = Jobs(self._db)
        self.encoders = Encoders(self._db)
        self.kept = Kept(self._db)
        self.selection = Selection(self._db)
        self.annotation = Annotation(self._db)
        self.annotating = Annotating(self._db)
        self.claims = Claims(self._db)
        self.repeats = Repeats(self._db)
        self.labels = Labels(self._db)
        self.truth = Truth(self._db)
        self.found = Found(self._db)
        self.learning = Learning(self._db)
        self.models = Models(self._db)
        self.predictions = Predictions(self._db)
        self.outgrown = OutgrownSegmentations(self._db)
        self.training = Training(self._db)
        self.reports = Reports(self._db)
        self.room = Room(self._db)
        self.state = State(self._db)
        self.alarms = Alarms(self._db)

    def changes(self) -> tuple[int, int]:
        """How many rows this connection has changed, and a number that is another one when somebody else has changed any."""
        connection = self._db.conn
        return connection.total_changes, connection.execute("PRAGMA data_version").fetchone()[0]

    def transaction(self) -> AbstractContextManager[None]:
        """Several changes as one."""
        return transaction(self._db)

    def effort(self, configured: Effort) -> Effort:
        """Expected minutes of a patch: what the ledger says, or config.toml while it knows too little."""
        return fit(timed(entries(self._db.conn)), configured)

    def queue_state(self) -> QueueState:
        """What the queue has for people now."""
        return queue_state(self._db.conn)

    def checkpoint(self) -> None:
        """Fold the write-ahead log back into the database file."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Let go of the database file."""
        self._db.close()
