"""Lets plain transformers read GPTQ and AWQ folders, without what gptqmodel does to the process on the way.

    if four_bit_method(folder):
        with four_bit_reader():
            model = AutoModelForImageTextToText.from_pretrained(folder, device_map={"": device})

transformers reads both formats with gptqmodel's kernels. Importing that library prints a banner, points the
environment at caches of its own, turns the root logger to INFO and talks on stdout; here it is imported once, and all
of that is put back. Kernels on CPUs are `aten::_weight_int4pack_mm_for_cpu`, which computes in bfloat16 inside the
quantized layers; nothing is compiled.
"""

import contextlib
import importlib
import importlib.util
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

from tasks.errors import LavaflowError

_CACHES = ("HF_HOME", "HF_HUB_CACHE", "TRANSFORMERS_CACHE", "HF_MODULES_CACHE")


def four_bit_method(path: str | Path) -> Literal["gptq", "awq"] | None:
    """The method that a local folder's weights are quantized with; None for weights in 16 or 32 bits."""
    config = Path(path) / "config.json"
    if not config.is_file():
        return None
    method = json.loads(config.read_text(encoding="utf-8")).get("quantization_config", {}).get("quant_method")
    return method if method in ("gptq", "awq") else None


@contextlib.contextmanager
def four_bit_reader() -> Iterator[None]:
    """While this is open, transformers reads 4-bit weights and keeps its own remarks on them to itself.

    Raises:
        LavaflowError: a library is missing.
    """
    from transformers.utils import logging as chatter

    _import_gptqmodel()
    level = chatter.get_verbosity()
    chatter.set_verbosity_error()
    try:
        yield
    finally:
        chatter.set_verbosity(level)


def require_gptqmodel() -> None:
    """Raises LavaflowError if what reads and writes 4-bit weights is not installed."""
    missing = [name for name in ("gptqmodel", "optimum") if importlib.util.find_spec(name) is None]
    if missing:
        raise LavaflowError(f"4-bit weights need {' and '.join(missing)}: pip install 'lavaflow[quantize]'")


@cache
def _import_gptqmodel() -> None:
    require_gptqmodel()
    root = logging.getLogger()
    environment, handlers, level, disabled = dict(os.environ), root.handlers[:], root.level, root.manager.disable
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        os.environ.update(dict.fromkeys(_CACHES, scratch))  # it makes these folders, by default shared ones in /tmp
        logging.disable(logging.WARNING)
        try:
            importlib.import_module("gptqmodel")
            importlib.import_module("optimum.gptq")
            importlib.import_module("logbar").LogBar.shared().setLevel(logging.ERROR)  # what gptqmodel talks through
        finally:
            os.environ.clear()
            os.environ.update(environment)
            logging.disable(disabled)
            root.handlers[:] = handlers
            root.setLevel(level)
