"""The ledger and the schema that holds it.

Belongs here: the ledger's row model, its SQL, its one service, the watermark rules, and the migrations of the database. Does not
belong here: vendors, files, silver and gold tables, and anything that imports dagster.
"""
