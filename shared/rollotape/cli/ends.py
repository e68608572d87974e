"""How every command ends: one sentence on stderr and an exit code, never a traceback."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import asyncpg
import redis.exceptions
import typer

from rollotape import settings as configuration
from rollotape.cli import stack
from rollotape.errors import Refused, RolloError
from rollotape.postgres.pool import OUTAGES
from rollotape.settings import Settings

FAILURE, USAGE, INTERRUPTED = 1, 2, 130
CANCEL_AGAIN_S = 0.5

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result], *, interrupted: Callable[[], str] = lambda: "stopped") -> Result:
    """Run a command's work; `interrupted` says what holds after Ctrl-C."""
    try:
        return asyncio.run(_until_interrupted(work))
    except KeyboardInterrupt:
        stop(interrupted(), INTERRUPTED)
    except Refused as error:
        stop(str(error), USAGE)
    except RolloError as error:
        if isinstance(error.__cause__, redis.exceptions.AuthenticationError):
            stop(_rejected(error.__cause__), USAGE)  # of the family of outages, but waiting does not help
        stop(_in_words(error), FAILURE)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        stop("the database is not set up for this version: run `rollo migrate`", FAILURE)
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        stop(f"PostgreSQL rejects the login: {error}; see to ROLLO_DATABASE_URL", USAGE)
    except asyncpg.ClientConfigurationError as error:
        stop(f"ROLLO_DATABASE_URL cannot be used: {error}", USAGE)
    except redis.exceptions.AuthenticationError as error:
        stop(_rejected(error), USAGE)
    except BrokenPipeError:
        raise
    except _ENDED as error:
        if isinstance(error, OSError) and error.filename is not None:
            stop(f"{error.filename}: {error.strerror}", FAILURE)
        if isinstance(error, asyncpg.InterfaceError) and "clos" not in str(error):
            raise  # a bug
        stop(_in_words(error), FAILURE)


_ENDED: tuple[type[Exception], ...] = (*OUTAGES, asyncpg.InterfaceError)
_GONE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InterfaceError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
)


def _rejected(error: redis.exceptions.AuthenticationError) -> str:
    # Clients that speak RESP3 are told about the command, HELLO, instead of what is missing.
    reason = "a password is needed" if "HELLO" in str(error) else error
    return f"Redis rejects the login: {reason}; see to ROLLO_REDIS_URL"


def _in_words(error: Exception) -> str:
    """What an operator can do about it; the names of our libraries' errors mean nothing to them."""
    cause = error.__cause__ if isinstance(error, RolloError) else error
    if not isinstance(cause, _GONE):
        return str(error)
    if isinstance(cause, redis.exceptions.RedisError):
        what = "Redis"
    elif isinstance(cause, asyncpg.PostgresError | asyncpg.InterfaceError):
        what = "PostgreSQL"
    else:
        what = {"postgres": "PostgreSQL", "redis": "Redis"}.get(str(error).partition(":")[0], "a server")
    where = f" ({cause})" if isinstance(cause, OSError) and str(cause) else ""
    return f"{what} cannot be reached, or went away during the command{where}. {_remedy(what)}"


def _remedy(what: str) -> str:
    """Of servers that the environment names, `rollo up` starts none."""
    setting = {"Redis": "redis_url", "PostgreSQL": "database_url"}.get(what)
    if setting is None or not configuration.named(setting):
        return "If the stack has stopped, start it with `rollo up`; then run the command again"
    place, variable = configuration.without_login(_url(setting)), configuration.variable(setting)
    return f"It was looked for at {place} ({variable}): see whether it runs there; then run the command again"


def _url(setting: str) -> str:
    others = {"redis_url", "database_url"} - {setting}
    try:
        return str(getattr(configuration.load(**dict.fromkeys(others, "")), setting))
    except Refused:
        return ""  # the command could not have begun


async def _until_interrupted(work: Coroutine[Any, Any, Result]) -> Result:
    """Like `await work`, but Ctrl-C always stops it.

    redis-py 8.1 loses a cancellation that comes while it looks for bytes without waiting, so one is not
    enough: asyncio's own handling of Ctrl-C left every few commands running.
    """
    task = asyncio.create_task(work)
    interrupted = asyncio.Event()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as of a job that a shell put aside
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    ctrl_c = asyncio.create_task(interrupted.wait())
    await asyncio.wait({task, ctrl_c}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        ctrl_c.cancel()
        return task.result()
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
    raise KeyboardInterrupt


def stack_of(data: Path | None) -> Settings:
    """Settings of the stack that a command addresses; ends the command when there is none."""
    return _or_stop(stack.address, data)


def database_of(data: Path | None) -> Settings:
    """The same for a command that needs PostgreSQL only."""
    return _or_stop(stack.database, data)


def _or_stop(find: Callable[[Path | None], Settings], data: Path | None) -> Settings:
    with refusals():
        return find(data)


@contextmanager
def refusals() -> Iterator[None]:
    """What is refused before there is any work to run."""
    try:
        yield
    except Refused as error:
        stop(str(error), USAGE)


def stop(sentence: str, code: int) -> NoReturn:
    """End the command."""
    typer.echo(f"rollo: {sentence}", err=True)
    raise typer.Exit(code)
