"""Folders that every user of this machine may pass through, as PostgreSQL must when we are root."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_folder() -> Iterator[Path]:
    """A fresh folder with a short name; unlike pytest's `tmp_path`, others can pass through it."""
    folder = Path(tempfile.mkdtemp(prefix="rollo-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
