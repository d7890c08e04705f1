"""Gold: dimensions and facts built from silver.

Belongs here: what each gold object is (`facts`, `dimensions`) and the transaction that builds it (`build`). Does not belong here: reading
vendor answers, the order of a run.
"""
