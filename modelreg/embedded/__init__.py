"""The registry in a box: Kubeflow's REST contract over SQLite or PostgreSQL, as one WSGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelreg.embedded.app import RegistryApp

__all__ = ["open_app"]


def open_app(url: str) -> RegistryApp:
    """Return the registry whose database is at ``url``, as a WSGI application; ``close()`` ends it.

    Args:
        url: ``sqlite:///path`` (relative to the working folder; ``sqlite:////path`` is absolute), a path alone, or
            ``postgresql://user@host/name``. A database that is not there yet is made, one of an older version migrated.

    Raises:
        InvalidInput: The URL is of neither kind.
        MissingExtra: PostgreSQL is asked for and its driver is not installed.
        DatabaseTooNew: A newer modelreg wrote the database; it was left untouched.
        DatabaseError: The database cannot be opened.
    """
    from modelreg.embedded.app import RegistryApp
    from modelreg.embedded.database import open_database
    from modelreg.embedded.rules import Registry

    return RegistryApp(Registry(open_database(url)))
