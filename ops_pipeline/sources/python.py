"""A user's own code as a source: a function or a class that gets the request and gives bytes.

Belongs here: loading it from the one place that its declaration names, calling it in all the ways in which it may be written, and turning
whatever it does into parts or an error of its key. Does not belong here: what it asks, and the engine.

Nothing but the named file or module is loaded: no folder is put on the import path, and no compiled copy is read or written.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import os
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ops_pipeline.sources.base import Answer, Request, SourceError
from ops_pipeline.sources.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from ops_pipeline.recipes.source import SourceDeclaration

log = logging.getLogger("ops_pipeline.sources")

_MODULE: Final = "ops_pipeline_own_source_"
# What a user's code may raise without meaning to end the process; a cancelled task is the engine's own.
_THEIRS: Final = (Exception, SystemExit, KeyboardInterrupt, GeneratorExit)
_END: Final = object()


class OwnSource:
    """Calls a user's code. It is loaded with the first request; what is wrong with it fails this source's keys and no others."""

    def __init__(self, declaration: SourceDeclaration) -> None:
        """Notes where the code is; nothing is loaded yet."""
        if declaration.python is None:
            raise ValueError(f"{declaration.name} declares no Python code")
        self._name, self._python = declaration.name, declaration.python
        self._secrets = [Redactor(os.environ.get(variable)) for variable in self._python.secrets]
        self._loading = asyncio.Lock()
        self._loaded: tuple[Callable[[Request], Any], Any] | SourceError | None = None

    async def fetch(self, request: Request) -> AsyncIterator[Answer]:
        """Calls the code with the request, and gives the bytes that it returns or yields, one part each.

        Raises:
            SourceError: the code cannot be loaded, raised something, took too long, or gave something else than bytes.
        """
        code, _ = await self._code()
        parts = self._parts(code, request)
        number, waiting = 0, None
        try:
            while True:
                part = await self._next(parts)
                if part is _END:
                    break
                if waiting is not None:
                    yield self._answer(waiting, number, last=False)
                number, waiting = number + 1, self._checked(part)
            if waiting is None:
                raise self._error("gave nothing; return bytes, such as b'[]' where there are no data")
            yield self._answer(waiting, number, last=True)
        finally:
            await parts.aclose()

    async def aclose(self) -> None:
        """Calls `aclose` or `close` of a class's object where it has one."""
        if not isinstance(self._loaded, tuple) or self._loaded[1] is None:
            return
        close = getattr(self._loaded[1], "aclose", None) or getattr(self._loaded[1], "close", None)
        if close is not None:
            try:
                result = close()
                if inspect.isawaitable(result):
                    await result
            except (SystemExit, KeyboardInterrupt) as e:
                raise RuntimeError(f"{self._python.call} raised {type(e).__name__} when it was closed") from e

    # --- loading --------------------------------------------------------------------------------------------------------------

    async def _code(self) -> tuple[Callable[[Request], Any], Any]:
        async with self._loading:
            if self._loaded is None:
                try:
                    self._loaded = await _in_thread(self._load)
                except SourceError as e:
                    self._loaded = e
        if isinstance(self._loaded, SourceError):
            # A new object each time: a traceback would grow with every key that fails.
            raise SourceError(str(self._loaded), kind="permanent")
        return self._loaded

    def _load(self) -> tuple[Callable[[Request], Any], Any]:
        try:
            found = getattr(self._module(), self._python.name, None)
            if found is None:
                raise SourceError(
                    f"{self._python.place} has no {self._python.name}: correct `call` of the source {self._name}.",
                    kind="permanent",
                )
            if not inspect.isclass(found):
                if callable(found):
                    return found, None
                raise SourceError(
                    f"{self._python.call} is no function or class: correct `call` of the source {self._name}.", kind="permanent"
                )
            made: Any = found()
            if callable(getattr(made, "fetch", None)):
                return made.fetch, made
            raise SourceError(f"the class {self._python.call} has no method fetch(request): add it.", kind="permanent")
        except SourceError:
            raise
        except _THEIRS as e:
            raise self._raised(e, "when it was loaded") from None

    def _module(self) -> ModuleType:
        path = self._python.file
        if path is None:
            return importlib.import_module(self._python.place)
        text = self._read(path)
        module = ModuleType(_MODULE + self._name.replace("-", "_"))
        module.__file__ = str(path)
        sys.modules[module.__name__] = module  # dataclasses and the like look their module up
        exec(compile(text, str(path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the user's code, from the place that they named
        return module

    def _read(self, path: Path) -> bytes:
        """The file's text; a link must not lead to code outside of the folder."""
        try:
            folder = (self._python.home / "sources").resolve() if self._python.home else path.parent
            real = path.resolve(strict=True)
            if not real.is_relative_to(folder):
                raise SourceError(f"{path} leads out of {folder}: put the file itself there.", kind="permanent")
            return real.read_bytes()
        except (OSError, RuntimeError) as e:
            why = getattr(e, "strerror", None) or str(e)
            raise SourceError(
                f"{path} cannot be read ({why}): put the code of the source {self._name} there, or correct its `call`.",
                kind="permanent",
            ) from None

    # --- calling --------------------------------------------------------------------------------------------------------------

    async def _next(self, parts: AsyncGenerator[Any, None]) -> Any:
        try:
            async with asyncio.timeout(self._python.timeout_seconds):
                return await anext(parts, _END)
        except TimeoutError:
            raise SourceError(
                f"{self._python.call} gave nothing within {self._python.timeout_seconds:g} s: run again, or raise timeout_seconds.",
                kind="transient",
            ) from None

    async def _parts(self, code: Callable[[Request], Any], request: Request) -> AsyncGenerator[Any, None]:
        """What the code returns or yields, however it is written. Its exceptions come out as SourceError."""
        try:
            if inspect.isasyncgenfunction(code):
                async for part in code(request):
                    yield part
                return
            result = await code(request) if inspect.iscoroutinefunction(code) else await _in_thread(code, request)
            if inspect.isawaitable(result):
                result = await result
            if hasattr(result, "__aiter__"):
                async for part in result:
                    yield part
            elif isinstance(result, Iterable) and not isinstance(result, bytes | bytearray | memoryview | str | dict):
                steps = iter(result)
                while (part := await _in_thread(next, steps, _END)) is not _END:
                    yield part
            else:
                yield result
        except SourceError as e:
            raise SourceError(
                self._clean(str(e)), kind=e.kind, status_code=e.status_code, body=e.body and self._redacted(e.body)[0],
                retry_after=e.retry_after, redacted=e.redacted or bool(e.body and self._redacted(e.body)[1]),
            ) from None  # fmt: skip
        except asyncio.CancelledError as e:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the run is being stopped, or the time is over
            raise self._raised(e, f"for {request.ticker}") from None
        except GeneratorExit:
            raise  # the engine wants no more
        except _THEIRS as e:
            raise self._raised(e, f"for {request.ticker}") from None

    def _checked(self, part: object) -> bytes:
        if isinstance(part, bytes | bytearray | memoryview):
            return bytes(part)
        advice = (
            "encode the text, such as text.encode()"
            if isinstance(part, str)
            else "return the answer as bytes, as it was received"
        )
        raise self._error(f"gave {type(part).__name__} in place of bytes; {advice}")

    def _answer(self, body: bytes, number: int, *, last: bool) -> Answer:
        clean, redacted = self._redacted(body)
        return Answer(clean, part=number, last=last, redacted=redacted)

    # --- what is told ---------------------------------------------------------------------------------------------------------

    def _error(self, what: str) -> SourceError:
        return SourceError(f"{self._python.call} {what}.", kind="permanent")

    def _raised(self, error: BaseException, when: str) -> SourceError:
        """Names the exception and the line, not its text, which may hold a secret that nobody declared; the log has the text."""
        if isinstance(error.__cause__, StopIteration):
            error = error.__cause__
        lines = [
            f.lineno
            for f in traceback.extract_tb(error.__traceback__)
            if self._python.file and f.filename == str(self._python.file)
        ]
        if isinstance(error, SyntaxError) and self._python.file and error.filename == str(self._python.file):
            lines.append(error.lineno)
        where = f" in line {lines[-1]}" if lines and lines[-1] else ""
        log.warning("%s raised %s:\n%s", self._python.call, when, self._clean("".join(traceback.format_exception(error))))
        return self._error(f"raised {type(error).__name__}{where} {when}; the log has the details")

    def _redacted(self, body: bytes) -> tuple[bytes, bool]:
        redacted = False
        for secret in self._secrets:
            body, found = secret.body(body)
            redacted = redacted or found
        return body, redacted

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = secret.text(text)
        return text


async def _in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call in a thread of its own, which nobody waits for when it is not wanted any more.

    No pool: code that hangs would hold a place in it, and keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def tell(result: Any, error: BaseException | None) -> None:
        if not done.done():
            done.set_result((result, error))

    def call() -> None:
        try:
            outcome: tuple[Any, BaseException | None] = (work(*arguments), None)
        except BaseException as e:  # noqa: BLE001 - handed over: SystemExit in a thread would be lost, StopIteration would hang its future
            outcome = (None, e)
        try:
            loop.call_soon_threadsafe(tell, *outcome)
        except RuntimeError:
            return  # the loop is closed: nobody waits

    threading.Thread(target=call, name="ops-pipeline-own-source", daemon=True).start()
    result, error = await done
    if isinstance(error, StopIteration):
        raise RuntimeError("StopIteration") from error  # in a coroutine it would mean something else
    if error is not None:
        raise error
    return result
