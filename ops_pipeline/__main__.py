"""`python -m ops_pipeline`: the same as the command `ops-pipeline`.

Belongs here: nothing else. Does not belong here: any command (`cli`).
"""

from __future__ import annotations

from ops_pipeline.cli import main

if __name__ == "__main__":
    main()
