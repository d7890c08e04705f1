"""ops_pipeline: market data from vendors to analytics, with one ledger row for every file.

Belongs here: the version. Does not belong here: imports of the package's own modules, so that `import ops_pipeline` stays free.
"""

__version__ = "0.1.0"
