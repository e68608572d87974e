"""Patterns of the strongest stocks: those of now, then each new one as it comes.

python leaders.py --url http://127.0.0.1:8080 --last-id FILE

A key is read from ROLLO_API_KEY. With --last-id the next run goes on where this one ended.
"""

import argparse
from itertools import islice
from pathlib import Path

from rollotape.answers import ScanItem
from rollotape.client import Client, Gap, Update, calls
from rollotape.events import Pattern


def main() -> None:
    arguments = _arguments()
    with Client(arguments.url) as rollo:
        ranked = rollo.each(calls.strength(sort_by="rs_score", limit=1_000))
        strongest = {one.symbol for one in islice(ranked, 1_000) if (one.rs_score or 0) >= arguments.rs}
        show(rollo, strongest)
        follow(rollo, strongest, arguments.last_id, arguments.most)


def show(rollo: Client, symbols: set[str]) -> None:
    """What is setting up in them now."""
    for found in rollo.each(calls.scan(sort_by="confidence", limit=1_000)):
        if found.symbol in symbols:
            say("now", found)


def follow(rollo: Client, symbols: set[str], last_id: Path | None, most: int | None) -> None:
    """What comes, up to so many facts."""
    since = last_id.read_text().strip() if last_id and last_id.exists() else None
    seen = 0
    with rollo.subscribe(patterns=sorted(symbols), since=since) as stream:
        for found in stream:
            if isinstance(found, Gap):
                show(rollo, symbols)  # whatever was missed is in there
            elif isinstance(found, Update):
                say(found.type.removeprefix("pattern."), found.pattern)
            if last_id:
                last_id.write_text(found.id)
            seen += 1
            if seen == most:
                return


def say(when: str, about: ScanItem | Pattern) -> None:
    print(f"{when:<9} {about.symbol:<8} {about.pattern_type:<12} {about.confidence:.2f}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--rs", type=float, default=0.0, help="the least rs_score of a stock")
    parser.add_argument("--last-id", type=Path, metavar="FILE", help="where to keep the place in the stream")
    parser.add_argument("--most", type=int, metavar="N", help="end after so many facts")
    return parser.parse_args()


if __name__ == "__main__":
    main()
