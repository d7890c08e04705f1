"""The command with a source that fails for some tickers: run as `python -m ops_pipeline_tests.cli.failing_source IBM,MSFT run ...`.

Belongs here: the one change to the sample source. Does not belong here: expectations.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

from ops_pipeline.cli import main
from ops_pipeline.sources import Answer, Request, SourceError
from ops_pipeline.sources.sample import SampleSource

_answer = SampleSource.fetch


def _fail(tickers: list[str]) -> None:
    async def fetch(self: SampleSource, request: Request) -> AsyncIterator[Answer]:
        if request.ticker in tickers:
            raise SourceError(f"the vendor does not answer for {request.ticker}", kind="transient", status_code=503)
        async for answer in _answer(self, request):
            yield answer

    SampleSource.fetch = fetch  # type: ignore[method-assign]


if __name__ == "__main__":
    _fail(sys.argv.pop(1).split(","))
    main()
