"""What can go wrong in the service, each with the exit code that a script can rely on (after sysexits.h where one fits)."""

from __future__ import annotations


class AlscopeError(Exception):
    """Base of everything the service says to a person in one line."""

    exit_code = 1


class UsageError(AlscopeError):
    """The command line names something that does not exist (a job, a suggestion, a model)."""

    exit_code = 64


class NotRunningError(AlscopeError):
    """The command needs a running daemon and there is none."""

    exit_code = 69


class WorkspaceError(AlscopeError):
    """The workspace cannot be used: missing, not writable, on a network file system, or its database is damaged."""

    exit_code = 73


class DamagedError(WorkspaceError):
    """The database of the workspace is damaged: nothing in it can be relied on."""


class NoRoomError(WorkspaceError):
    """The disk of the workspace is full: the same is tried again, and works when there is room."""


class AlreadyRunningError(AlscopeError):
    """Another daemon holds this workspace."""

    exit_code = 75


class ConfigError(AlscopeError):
    """config.toml is missing, not TOML, or holds a key or value that makes no sense."""

    exit_code = 78


class BrokenError(AlscopeError):
    """A part of the daemon has died; a new start makes it anew, which systemd does by itself."""

    exit_code = 70


class IllegalTransitionError(AlscopeError):
    """A state change that the transition table does not allow; carries the story of the thing it was asked of."""

    exit_code = 70
