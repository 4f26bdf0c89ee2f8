"""What a person at a terminal sees: quiet libraries, one line an event, plain tables, one line an error.

Used by what a person starts, the command line and the flows; a library does not set up logging.
"""

import errno
import logging
import os
import sys
from collections.abc import Iterable, Sequence

from tasks.errors import LavaflowError

OURS = ("tasks", "flows")
"""Loggers whose events are news."""
NOISY = (
    "torchao",  # warns of kernels for GPUs that are not here
    "torch.utils._pytree",
    "bitsandbytes",
    "httpx",
    "mlflow",
    "alembic",
    "transformers",
)
"""Loggers whose warnings say nothing a user of lavaflow can act on; their errors are shown."""

PRIVACY = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""Set before any library is imported, unless the user has set them: nobody phones home, nobody chats."""


def set_up(verbose: bool) -> None:
    """Log lavaflow's own events at INFO (DEBUG if verbose), everybody else's warnings, noisy libraries' errors."""
    for variable, value in PRIVACY.items():
        os.environ.setdefault(variable, value)
    if not sys.stderr.isatty():  # a night's log: a progress line now and then, not ten a second
        os.environ.setdefault("TQDM_MININTERVAL", "15")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("prefect").setLevel(logging.ERROR)  # its lines are for its own pages and its worker
    set_levels(logging.DEBUG if verbose else logging.INFO)


def set_levels(ours: int = logging.INFO) -> None:
    """What is worth a line, of us (unless that is set) and of the libraries; a Prefect worker sets up the rest."""
    for name in OURS:
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(ours)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)


class OneLineErrors(logging.Filter):
    """Drops what Prefect logs, with tracebacks, of errors that the command line words in one line anyway."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a record of an error that is worded elsewhere."""
        error = record.exc_info[1] if record.exc_info else None
        told = error is not None and explain(error) is not None
        return not told and LavaflowError.__name__ not in record.getMessage()


def explain(error: BaseException) -> str | None:
    """The line a user reads for an error that is theirs to mend; None for a bug."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, LavaflowError):
            return str(seen)
        text = str(seen)
        full = isinstance(seen, OSError) and seen.errno == errno.ENOSPC
        if full or "No space left on device" in text or "disk is full" in text:
            name = getattr(seen, "filename", None)
            where = f" ({name})" if name else ""
            return f"the disk is full{where}: free some space and run the same command again; finished stages are kept"
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, KeyboardInterrupt):
        return "stopped; the same command goes on where it stopped"
    return None


def table(rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Columns padded to their widest cell; figures right, words left."""
    cells = [[str(cell) for cell in row] for row in rows]
    lines = [list(header), *cells] if header else cells
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))] if lines else []
    right = [all(_is_figure(line[n]) for line in cells) for n in range(len(widths))]
    text = [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True))
        for line in lines
    ]
    if header:
        text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in text)


def _is_figure(cell: str) -> bool:
    return not cell or cell.lstrip("+-").replace(",", "").replace(".", "").replace("%", "").replace(" s", "").isdigit()
