"""What a person at a terminal sees: quiet libraries, one line an event, plain tables, one line an error.

Used by what a person starts, the command line and the flows; a library does not set up logging.
"""

import errno
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

from tasks.errors import LavaflowError

IN_THE_WAY = (NotADirectoryError, IsADirectoryError, FileExistsError, PermissionError)
"""Errors of the user's files, not of ours."""
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


LOG_WIDTH = 140
"""Characters a line of a table, where it goes to a file."""
WHOLE_WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


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
        said = record.getMessage()
        stopped = "interrupt signal" in said  # Ctrl-C gets a line of its own too
        return not stopped and explain(error or Exception(said)) is None and LavaflowError.__name__ not in said


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
        if isinstance(seen, IN_THE_WAY) and seen.filename:
            return f"{seen.filename}: {seen.strerror}; put it right and run the same command again"
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, KeyboardInterrupt):
        return "stopped; the same command goes on where it stopped"
    return None


def table(rows: Iterable[Sequence[object]], header: Sequence[str] = (), width: int | None = None) -> str:
    """Columns padded to their widest cell; figures right, words left.

    Args:
        rows: cells, as many in each.
        header: names of the columns.
        width: characters from which on words wrap; default the terminal's, or `LOG_WIDTH` where there is none.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    lines = [list(header), *cells] if header else cells
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))] if lines else []
    right = [all(_is_figure(line[n]) for line in cells) for n in range(len(widths))]
    if width is None:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else LOG_WIDTH
    widths = _fitted(lines, widths, width)
    if header:
        lines.insert(1, ["-" * w for w in widths])
    text = []
    for line in lines:
        wrapped = [textwrap.wrap(c, max(w, 1), **WHOLE_WORDS) for c, w in zip(line, widths, strict=True)]
        for parts in zip_longest(*wrapped, fillvalue=""):
            padded = (p.rjust(w) if r else p.ljust(w) for p, w, r in zip(parts, widths, right, strict=True))
            text.append("  ".join(padded).rstrip())
    return "\n".join(text)


def _fitted(lines: Sequence[Sequence[str]], widths: Sequence[int], width: int) -> list[int]:
    """Narrower columns, the widest first, none below its longest word."""
    fitted = list(widths)
    least = [max(len(word) for line in lines for word in line[n].split() or [""]) for n in range(len(widths))]
    while sum(fitted) + 2 * (len(fitted) - 1) > width:
        roomy = [n for n in range(len(fitted)) if fitted[n] > least[n]]
        if not roomy:
            break
        fitted[max(roomy, key=lambda n: fitted[n])] -= 1
    return fitted


def _is_figure(cell: str) -> bool:
    return not cell or cell.lstrip("+-").replace(",", "").replace(".", "").replace("%", "").replace(" s", "").isdigit()
