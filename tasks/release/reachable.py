"""Whether a tracking server is there: asked in seconds and answered in one line, where MLflow tries for an hour.

check_reachable("postgresql://user:secret@db/mlflow")
"""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from tasks.errors import LavaflowError
from tasks.redact import shown

PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
REACH_SECONDS = 5.0


def check_reachable(uri: str) -> None:
    """Return if something answers at a tracking URI.

    Raises:
        LavaflowError: nothing answers there, or it is no place for a tracking store.
    """
    parts = urlsplit(uri)
    kind = parts.scheme.partition("+")[0]
    if kind == "sqlite":
        _check_sqlite(Path(uri.partition(":///")[2]), uri)
    elif parts.hostname and kind in PORTS:
        try:
            socket.create_connection((parts.hostname, parts.port or PORTS[kind]), REACH_SECONDS).close()
        except OSError as error:
            raise LavaflowError(
                f"tracking.uri {shown(uri)}: no server answers ({error}); start one with `make up`, or set "
                "tracking.uri to sqlite:///mlflow.db"
            ) from None
    else:
        raise LavaflowError(
            f"tracking.uri {shown(uri)}: not a tracking store; use sqlite:///mlflow.db, http(s)://server:port, "
            "or a database (postgresql://...)"
        )


def _check_sqlite(file: Path, uri: str) -> None:
    try:
        if not file.parent.is_dir():
            raise LavaflowError(f"tracking.uri {uri}: there is no folder {file.parent}; make it, or name another file")
        if file.exists() and file.stat().st_size:
            with file.open("rb") as opened:
                if opened.read(16) != b"SQLite format 3\0":
                    raise LavaflowError(f"tracking.uri {uri}: {file} is not an SQLite database; name another file")
        elif not os.access(file.parent, os.W_OK):
            raise LavaflowError(f"tracking.uri {uri}: {file.parent} cannot be written to; name another folder")
    except OSError as error:
        raise LavaflowError(f"tracking.uri {uri}: {error.strerror}: {error.filename}; name another file") from None
