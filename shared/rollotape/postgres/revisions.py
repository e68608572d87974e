"""The revisions of the schema that this version has, for those who do not migrate."""

from pathlib import Path

VERSIONS = Path(__file__).parent / "migrations" / "versions"


def revisions() -> list[str]:
    """The oldest first."""
    return sorted(path.stem for path in VERSIONS.glob("[0-9]*_*.py"))


def lacking(revision: str) -> list[str]:
    """What a database of this revision does not have yet; nothing where a newer version was at it."""
    known = revisions()
    return known[known.index(revision) + 1 :] if revision in known else []
