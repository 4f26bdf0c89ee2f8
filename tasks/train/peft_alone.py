"""Keeps peft from importing gptqmodel, which it does wherever that is installed.

    with peft_alone():
        model = get_peft_model(model, config)

gptqmodel takes ten seconds to import, prints a banner and changes environment variables of the process; training needs
none of it. Python's own rule does it: a name that is None in `sys.modules` cannot be found.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def peft_alone() -> Iterator[None]:
    """While this is open, gptqmodel looks absent, unless it has been imported before."""
    if "gptqmodel" in sys.modules:
        yield
        return
    sys.modules["gptqmodel"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["gptqmodel"]
