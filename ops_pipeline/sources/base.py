"""What every source has in common: the request, the answer, the error.

Belongs here: the types that planning, fetching and bronze share, and the identity of requests and files. Does not belong here:
any one vendor's ways, and HTTP.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Final, Literal, Protocol

from ops_pipeline.recipes.keys import join_dataset_key
from ops_pipeline.sources.large import LargeBody

ErrorKind = Literal["permanent", "transient", "deferred", "auth", "plan", "plan_dataset"]
# By these a vendor says that the plan does not hold what was asked.
PLAN_KINDS: Final[frozenset[ErrorKind]] = frozenset({"plan", "plan_dataset"})

_ID_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class Validators:
    """What an answer came with, so that its request can ask later whether it changed (RFC 9110, section 8.8).

    Attributes:
        address: a digest of the address that was asked, without the key: they are good for that one alone.
        etag: the header ETag; None where it did not come.
        last_modified: the header Last-Modified; None where it did not come.
    """

    address: str
    etag: str | None = None
    last_modified: str | None = None

    @property
    def text(self) -> str:
        """As the ledger keeps them."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> Validators:
        """Those that the ledger kept."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Request:
    """One window or page series that is asked for one partition.

    Attributes:
        domain: the recipe's domain, such as `equities`.
        source: the vendor.
        dataset: what is asked of it.
        discriminator: the dataset's variant, or `-`.
        ticker: the instrument or series, or `-`.
        from_date: first date wanted, inclusive; None: from the beginning.
        to_date: last date wanted, inclusive; None: to the end.
        params: further parameters as (name, value) pairs, in any order (they are kept sorted). Never secrets: they enter the ids,
            which are stored and shown; a client adds its key when it sends.
        validators: of the answer that stands in bronze: a client that can asks for another one only. They are no part of what is asked.
    """

    domain: str
    source: str
    dataset: str
    discriminator: str
    ticker: str
    from_date: date | None
    to_date: date | None
    params: tuple[tuple[str, str], ...] = ()
    validators: Validators | None = field(default=None, compare=False)
    _id: str = field(default="", init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Sorts the parameters: their order has no meaning, so it must not make another request."""
        object.__setattr__(self, "params", tuple(sorted(self.params)))

    @property
    def dataset_key(self) -> str:
        """The partition dimension `dataset`, as `Recipe.dataset_key`."""
        return join_dataset_key(self.source, self.dataset, self.discriminator)

    @property
    def request_id(self) -> str:
        """The request's identity: 32 hexadecimal digits that depend on all fields and on nothing else."""
        if not self._id:  # asked for several times in a run of thousands
            object.__setattr__(self, "_id", self._digest())
        return self._id

    def file_id(self, part: int) -> str:
        """Gives the identity of one part of the answer (from 1): 32 hexadecimal digits, the same in every run.

        Raises:
            ValueError: the part is below 1.
        """
        if part < 1:
            raise ValueError(f"parts count from 1, not {part}")
        return self._digest(part=part)

    def _digest(self, **more: int) -> str:
        content = {
            "domain": self.domain,
            "source": self.source,
            "dataset": self.dataset,
            "discriminator": self.discriminator,
            "ticker": self.ticker,
            "from_date": self.from_date and self.from_date.isoformat(),
            "to_date": self.to_date and self.to_date.isoformat(),
            "params": self.params,
            **more,
        }
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:_ID_DIGITS]


@dataclass(frozen=True, slots=True)
class Answer:
    """One vendor response, a part of what a request gets.

    Attributes:
        body: the bytes as received; of a large one, the file that they wait in until the next answer is wanted.
        part: its number within the request, from 1.
        last: no part follows; only then is the request complete.
        status_code: of HTTP, where there is one.
        redacted: a secret that the vendor repeated was taken out of the body.
        validators: what it came with, where its request may ask with them later.
        not_modified: there is no body: the answer whose validators the request had is still the vendor's.
    """

    body: bytes | LargeBody
    part: int = 1
    last: bool = True
    status_code: int | None = None
    redacted: bool = False
    validators: Validators | None = None
    not_modified: bool = False


class SourceError(Exception):
    """A request got no usable answer: it fails or defers its key, never the run.

    The text is one sentence that says what happened and what the user can do; it holds no secret.

    Attributes:
        kind: `permanent` (asking again changes nothing until the user does), `transient` (asking again may help), `deferred` (the quota
            is used up; asked again after its reset), `auth` (the key is refused), `plan` (the plan does not hold this ticker) or
            `plan_dataset` (nor any other of the dataset).
        status_code: of HTTP, where there is one.
        body: what the vendor sent along, kept in bronze; None when nothing came.
        retry_after: seconds that the vendor wants to be left alone; None when it did not say.
        redacted: a secret that the vendor repeated was taken out of the body.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind,
        status_code: int | None = None,
        body: bytes | None = None,
        retry_after: float | None = None,
        redacted: bool = False,
    ) -> None:
        """Takes the sentence and what the caller needs to decide."""
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.status_code = status_code
        self.body = body
        self.retry_after = retry_after
        self.redacted = redacted


class Source(Protocol):
    """A vendor's client; one object serves many requests at once, on one event loop."""

    def fetch(self, request: Request) -> AsyncIterator[Answer]:
        """Asks, and gives the parts in order as they come; the last one says so.

        Raises:
            SourceError: while iterating; the parts given before are good.
            UserError: the client cannot work at all until the user changes something.
        """
        ...

    async def aclose(self) -> None:
        """Releases connections; afterwards the client is not used again."""
        ...
