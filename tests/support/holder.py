"""Run as a script: holds the servers of a data directory until somebody ends it, however roughly."""

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from rollotape.embedded import Servers


def main(data: Path) -> None:
    with Servers(data, durable=False, environ={}) as servers:
        told = {"urls": asdict(servers.urls), "pids": servers.pids, "guardian": servers.children.guardian_pid}
        print(json.dumps(told), flush=True)
        signal.pause()


def leave(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave)
    main(Path(sys.argv[1]))
