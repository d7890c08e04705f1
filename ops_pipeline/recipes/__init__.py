"""Recipes: the declarations of what to ask of whom, and the universe of what is wanted.

Belongs here: models, the catalogue that ships with the package, loading and overlaying a user's own. Does not belong here: asking
(`sources`) or storing (`bronze`, `silver`, `gold`).
"""
