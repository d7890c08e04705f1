"""What a source is: the declaration of a vendor that stands at the top of a recipe file.

Belongs here: the vendor's name, limits and kind of client. Does not belong here: what is asked of it (`models`) and the details of HTTP
(`http`).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ops_pipeline.recipes.http import HttpSource
from ops_pipeline.recipes.models import Day, Name


class SourceDeclaration(BaseModel):
    """A vendor: how it is asked, how many requests at once, and the earliest date it answers for."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Name
    description: str = Field(min_length=1)
    url: str = ""
    client: Literal["sample", "http"]
    http: HttpSource | None = None
    concurrency: int = Field(default=8, ge=1, le=256)
    floor: Day | None = Field(default=None, description="earliest date that the plan answers for")

    @model_validator(mode="after")
    def _told_how(self) -> Self:
        if self.client == "http" and self.http is None:
            raise ValueError("http: the client `http` needs an `http` block with at least base_url")
        if self.client != "http" and self.http is not None:
            raise ValueError(f"http: the client `{self.client}` takes no `http` block; write `client: http`")
        return self
