"""The bronze layer: vendor answers kept as received.

Belongs here: where such a file lies, and writing and reading it. Does not belong here: what is in it (silver), and its ledger row
(ops).
"""

from __future__ import annotations

from ops_pipeline.bronze.paths import decode_part, encode_part, partition_folder
from ops_pipeline.bronze.store import BronzeStore, StoredFile

__all__ = ["BronzeStore", "StoredFile", "decode_part", "encode_part", "partition_folder"]
