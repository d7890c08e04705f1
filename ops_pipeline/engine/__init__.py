"""The engine: a run over many keys, free of Dagster.

Belongs here: planning (`plan`), finishing what earlier runs left (`heal`), fetching (`fetch`), recording and promoting (`promote`), and the
generator that ties them together (`run`). Does not belong here: SQL of the layers, what Dagster or the terminal shows.
"""
