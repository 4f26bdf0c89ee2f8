"""A Prefect API for a flow that is started from the command line.

    with prefect_api() as url:
        retrain(...)

The configured server if there is one, else the one of `make up` here if it answers, else a server of our own for as
long as the flow runs: it keeps its history in `.prefect/`, logs to a file, and ends when we do, even by `kill -9`.
"""

import logging
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.child import child
from tasks.errors import LavaflowError

log = logging.getLogger(__name__)

HOME = Path(".prefect")
LOG = Path("runs/prefect.log")
LOCAL = "http://127.0.0.1:4200/api"
"""Where `make up` serves."""
MADE_UP = Path("runs/servers/prefect.pid")
"""What `make up` leaves; without it, a server at that address is another folder's."""
START_SECONDS = 90


@contextmanager
def prefect_api() -> Iterator[str]:
    """The API's address, set for this process while the block lasts.

    Raises:
        LavaflowError: the configured server does not answer, or our own does not start.
    """
    if os.environ.get("PREFECT_API_URL") or (_made_up() and _answers(LOCAL)):
        with running_api() as url:
            log.info("flows: shown by the Prefect server at %s", url.removesuffix("/api"))
            yield url
    else:
        with _own_server() as url, _use(url, keeps_logs=False):
            yield url


@contextmanager
def running_api() -> Iterator[str]:
    """The address of a server that runs already: the configured one, else that of `make up`.

    Raises:
        LavaflowError: it does not answer.
    """
    url = os.environ.get("PREFECT_API_URL", LOCAL)
    if not _answers(url):
        raise LavaflowError(f"no Prefect server answers at {url}; start one with `make up`, or set PREFECT_API_URL")
    with _use(url):
        yield url


@contextmanager
def _use(url: str, keeps_logs: bool = True) -> Iterator[None]:
    """Set the address. A server that ends with us is sent no logs: the last ones would find it gone, and complain."""
    from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

    with temporary_settings({PREFECT_API_URL: url, PREFECT_LOGGING_TO_API_ENABLED: keeps_logs}):
        yield


@contextmanager
def _own_server() -> Iterator[str]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    arguments = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    quiet = {
        "PREFECT_HOME": str(HOME.resolve()),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_UI_ENABLED": "false",
    }
    with child(arguments, log=LOG, environment=quiet) as server:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            if server.poll() is not None or time.monotonic() > deadline:
                raise LavaflowError(f"Prefect's server did not start; its last words are in {LOG}")
            time.sleep(0.1)
        yield url


def _made_up() -> bool:
    """Whether `make up` of this folder has left a server that still runs."""
    try:
        os.kill(int(MADE_UP.read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as response:  # noqa: S310  (an address of ours)
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError, OSError, ValueError):
        return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
