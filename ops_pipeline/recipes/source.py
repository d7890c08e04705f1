"""What a source is: the declaration of a vendor that stands at the top of a recipe file.

Belongs here: the vendor's name, limits and kind of client. Does not belong here: what is asked of it (`models`), the details of HTTP
(`http`) and of a user's own sources (`own`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from ops_pipeline.recipes.http import HttpSource
from ops_pipeline.recipes.limits import Limits, Plan
from ops_pipeline.recipes.models import Day, Name
from ops_pipeline.recipes.own import FilesSource, PythonSource

if TYPE_CHECKING:
    from pathlib import Path


PlanName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]*$", max_length=40)]


class SourceDeclaration(BaseModel):
    """A vendor: how it is asked, how many requests at once, how much its plan allows, and the earliest date it answers for.

    Attributes:
        limits: calls, symbols and bytes that all processes of a home together may ask for.
        plan: the tier in force.
        plans: what each tier allows, in place of `limits` and `floor`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Name
    description: str = Field(min_length=1)
    url: str = ""
    client: Literal["sample", "http", "python", "files"]
    http: HttpSource | None = None
    python: PythonSource | None = None
    files: FilesSource | None = None
    concurrency: int = Field(default=8, ge=1, le=256)
    symbols: Literal["current", "dated"] = Field(
        default="current", description="the symbol that a renamed instrument's history is under: today's, or each day's own"
    )
    floor: Day | None = Field(default=None, description="earliest date that the plan answers for")
    limits: Limits | None = None
    plan: PlanName | None = None
    plans: dict[PlanName, Plan] = {}

    @model_validator(mode="before")
    @classmethod
    def _one_at_a_time(cls, data: Any) -> Any:
        # Code that was not written for several threads must not meet them by default, and of files the later name wins.
        if isinstance(data, dict) and data.get("client") in ("python", "files") and "concurrency" not in data:
            return {**data, "concurrency": 1}
        return data

    @model_validator(mode="after")
    def _told_how(self) -> Self:
        for client, block, needed in (
            ("http", self.http, "base_url"),
            ("python", self.python, "call"),
            ("files", self.files, "folder"),
        ):
            if self.client == client and block is None:
                raise ValueError(
                    f"{client}: the client `{client}` needs {'an' if client == 'http' else 'a'} `{client}` block with at least {needed}"
                )
            if self.client != client and block is not None:
                raise ValueError(f"{client}: the client `{self.client}` takes no `{client}` block; write `client: {client}`")
        return self

    @model_validator(mode="after")
    def _known_plan(self) -> Self:
        if self.plans and self.plan not in self.plans:
            raise ValueError(f"plan: name one of {', '.join(self.plans)}")
        if self.client != "http" and (self.limits or any(plan.limits for plan in self.plans.values())):
            raise ValueError("limits: only sources that are asked by HTTP have limits")
        return self

    def on_plan(self, name: str) -> SourceDeclaration:
        """The declaration under another plan.

        Raises:
            ValueError: it is none of those that are declared.
        """
        return type(self).model_validate({**self.model_dump(by_alias=True), "plan": name})

    @property
    def limits_in_force(self) -> Limits:
        """What the plan allows."""
        plan = self.plans.get(self.plan or "")
        return (plan.limits if plan else None) or self.limits or Limits()

    @property
    def earliest(self) -> Day | None:
        """The earliest date that the plan answers for."""
        plan = self.plans.get(self.plan or "")
        return (plan.floor if plan else None) or self.floor

    def at(self, home: Path | None) -> SourceDeclaration:
        """The declaration as it is in a home: its own code and files are looked for there."""
        if self.python:
            return self.model_copy(update={"python": self.python.model_copy(update={"home": home})})
        if self.files:
            return self.model_copy(update={"files": self.files.model_copy(update={"home": home})})
        return self
