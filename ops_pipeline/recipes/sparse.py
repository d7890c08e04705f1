"""Models whose later fields do not show where they are absent.

Belongs here: that one rule. Does not belong here: any field.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class SparseModel(BaseModel):
    """Fields of `_later` are left out of dumps where they are absent: recipes without them keep the hashes that they had before."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    _later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        dumped: dict[str, Any] = handler(self)
        return {k: v for k, v in dumped.items() if k not in self._later or getattr(self, k) != fields[k].default}
