"""The command with a source that does not answer: run as `python -m ops_pipeline_tests.cli.slow_source MODE run ...`.

Belongs here: the one change to the sample source, in the process that the test sends signals to. Does not belong here: expectations.

MODE `waits`: IBM's request waits for ever, in order, as one over the network does. MODE `hangs`: the whole event loop stands still.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator

from ops_pipeline.cli import main
from ops_pipeline.sources import Answer, Request
from ops_pipeline.sources.sample import SampleSource

_answer = SampleSource.fetch


def _slow(mode: str) -> None:
    async def fetch(self: SampleSource, request: Request) -> AsyncIterator[Answer]:
        if request.ticker == "IBM":
            # The others answer at once and are stored by then.
            await asyncio.sleep(0.5)
            print("IBM is asked", file=sys.stderr, flush=True)
            if mode == "hangs":
                time.sleep(600)
            await asyncio.Event().wait()
        async for answer in _answer(self, request):
            yield answer

    SampleSource.fetch = fetch  # type: ignore[method-assign]


if __name__ == "__main__":
    # A test run in the background of a shell would hand down an ignored Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _slow(sys.argv.pop(1))
    main()
