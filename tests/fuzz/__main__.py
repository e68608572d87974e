"""`make fuzz`: requests and messages by the ten thousand. Ends with 1 where anything was found."""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import structlog
from rich.console import Console

from bench.progress import Show
from fuzz import asking, talking
from rollotape.settings import Settings
from support import databases
from support.populated import give_key, tidy
from support.servers import open_servers

EXAMPLES = 40
"""Of each operation in a round."""
_LOOK_S = 0.5
MOST_SLOW = 0.02
"""Of the requests may be 503, answered late on a busy machine; with more of them too little was tried."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["requests", "messages"], help="both when none is named")
    parser.add_argument("--requests", type=int, default=50_000, help="at least so many")
    parser.add_argument("--messages", type=int, default=50_000, help="at least so many")
    parser.add_argument("--minutes", type=float, default=90.0, help="then it has failed")
    parser.add_argument("--seed", type=int, default=20_181_224)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.ERROR)
    show = Show(Console())
    show.say(f"seed {given.seed}")
    deadline = time.monotonic() + given.minutes * 60
    with open_servers({}) as urls, databases.template(urls.database_url) as template:
        for what, work in (("requests", _requests), ("messages", _messages)):
            if given.what not in (None, what):
                continue
            with databases.copy_of(template, urls.database_url) as database_url:
                settings = Settings(
                    redis_url=urls.redis_url,
                    cache_url=urls.cache_url,
                    database_url=database_url,
                    auth="off",
                    hosts="g",
                )
                if not work(show, settings, given, deadline):
                    sys.exit(1)


def _requests(show: Show, settings: Settings, given: argparse.Namespace, deadline: float) -> bool:
    """Rounds of all kinds of callers, each with a seed of its own, until the gateways have counted enough."""
    began, checked = asking.answered(), 0
    with asking.doors(settings) as doors, show.task(f"{given.requests:,} requests", given.requests) as done:
        seed = given.seed
        while (count := _since(began)) < given.requests:
            for door in doors:
                with tempfile.TemporaryDirectory() as folder, _Watching(lambda: done(_since(began))):
                    phases = "" if seed == given.seed else "fuzzing,stateful"
                    outcome = asking.ask(door, Path(folder), seed, EXAMPLES, phases=phases)
                if outcome.found:
                    show.say(f"{door.name}, seed {seed}:\n{outcome.found}")
                    return False
                checked += outcome.generated
                said = f"{outcome.generated:,} test cases passed, {_since(began):,} requests so far"
                show.say(f"  {door.name}, seed {seed}: {said}")
                tidy(settings)
                if time.monotonic() > deadline:
                    show.say(f"only {_since(began):,} requests in {given.minutes:g} minutes")
                    return False
            seed += 1
    answered = {kind: n - began.get(kind, 0) for kind, n in sorted(asking.answered().items())}
    said = ", ".join(f"{n:,} {kind}" for kind, n in answered.items())
    if answered.get("500"):
        show.say(f"requests: {count:,} answered ({said}), of them 500")
        return False
    if answered.get("503", 0) > count * MOST_SLOW:
        show.say(f"requests: {count:,} answered ({said}), too many of them 503")
        return False
    show.say(f"requests: {count:,} answered ({said}), {checked:,} test cases, 0 failures")
    return True


def _since(began: dict[str, int]) -> int:
    return sum(asking.answered().values()) - sum(began.values())


class _Watching:
    """Calls again and again, in a thread, while Schemathesis is at work in a process."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look, self._over = look, Event()
        self._thread = Thread(target=self._run, name="progress")

    def _run(self) -> None:
        while not self._over.wait(_LOOK_S):
            self._look()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _messages(show: Show, settings: Settings, given: argparse.Namespace, deadline: float) -> bool:
    """Half of them to a gateway that asks for keys, half to one that does not."""
    count = 0
    for auth in ("off", "on"):
        key = give_key(settings, "read", owner="ada").text if auth == "on" else None
        most = given.messages - given.messages // 2
        name = f"{most:,} messages, keys are {'asked for' if key else 'not asked for'}"
        with talking.gateway(settings, auth=auth) as running, show.task(name, most) as done:
            try:
                saying = talking.say(running, settings, most, given.seed, key=key, done=done)
                report = asyncio.run(asyncio.wait_for(saying, max(deadline - time.monotonic(), 1.0)))
            except (talking.Wrong, ExceptionGroup, TimeoutError) as error:
                show.say(f"{name}, seed {given.seed}: {_worded(error)}")
                return False
        count += report.harm.count
        for what, counted in (("sent", report.harm.sent), ("answered", report.harm.answered)):
            show.say(f"  {what}: " + ", ".join(f"{n:,} {kind}" for kind, n in counted.most_common()))
        closes = sorted(report.harm.closed.items())
        show.say("  closed: " + ", ".join(f"{n:,} with {code}" for code, n in closes))
        show.say(f"  beside them {report.facts:,} facts, each heard once by a client that means well")
        grown = f"{report.grown / talking.MB:.1f} MB"
        show.say(f"  {report.event_streams.total():,} streams of server-sent events; grown by {grown}")
        if report.grown > talking.GROWTH:
            show.say(f"more than {talking.GROWTH / talking.MB:.0f} MB")
            return False
    show.say(f"messages: {count:,}, 0 failures")
    return True


def _worded(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_worded(one) for one in error.exceptions)
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
