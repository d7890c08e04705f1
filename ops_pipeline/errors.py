"""Errors whose text is written for the person who runs the pipeline.

Belongs here: exception classes that the command line turns into one sentence and exit status 2. Does not belong here: errors of a
vendor's answer (`sources.base.SourceError`), which fail one key and never the run's start.
"""

from __future__ import annotations


class UserError(Exception):
    """Something that the user must change; the text says what is wrong, where, and what to do (exit status 2)."""


class SettingsError(UserError):
    """A setting has a value that cannot be used; the text names the environment variable."""


class RecipeError(UserError):
    """A recipe file is wrong; the text names file, dataset and field."""


class UniverseError(UserError):
    """The universe file is wrong, or asks for something that no recipe declares."""


class BronzeError(UserError):
    """The bronze store cannot be written or read."""


class DamagedFileError(BronzeError):
    """One bronze file does not hold what its name says: that file's key fails, the others go on.

    Attributes:
        why: what is wrong with it, in a few words, where the text says more.
    """

    def __init__(self, text: str, why: str | None = None) -> None:
        """Without `why`, the whole text says it."""
        super().__init__(text)
        self.why = why or text


class DatabaseError(UserError):
    """The database cannot be opened or is not one of ours."""


class DatabaseMissingError(DatabaseError):
    """A read was asked of a database that does not exist yet."""


class DatabaseBusyError(DatabaseError):
    """A foreign process kept the database file open for longer than the setting allows; the text names its pid."""


class SchemaVersionError(DatabaseError):
    """The database was migrated by newer code than this."""


class MigrationError(DatabaseError):
    """The migrations on disk and those recorded in the database do not fit together, or one failed; the database is as before it."""


class BackupError(UserError):
    """A backup cannot be made or put back; what was there is as it was."""
