"""A registry that is made once and copied, and a real server that all tests of serving share."""

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if "release_data" not in sys.modules:  # a helper beside the tests, which are no package
    spec = importlib.util.spec_from_file_location("release_data", Path(__file__).with_name("release_data.py"))
    assert spec is not None
    assert spec.loader is not None
    sys.modules["release_data"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["release_data"])
