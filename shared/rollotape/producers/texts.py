"""The text of a file that somebody hands us, plain or gzipped, and in words why there is none."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollotape.errors import Refused


@contextmanager
def text_of(path: Path) -> Iterator[str]:
    """The content of a file; what is said of it inside is said with its name.

    Raises:
        Refused: the file cannot be read, or is not UTF-8; or whatever the block refuses.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        yield data.decode("utf-8-sig")
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise Refused(f"{path}: the gzip file is damaged: {error}") from error
        raise Refused(f"{path}: {error.strerror}") from error
    except (EOFError, zlib.error) as error:
        raise Refused(f"{path}: the gzip file is damaged or cut off: {error}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: the file is not UTF-8: {error.reason} at byte {error.start}") from error
    except (Refused, csv.Error) as error:
        raise Refused(f"{path}: {error}") from error
