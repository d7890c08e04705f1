"""Looking after a home: copies of it, and the room that it takes.

Belongs here: backups, rewriting the database, packing and purging bronze files, figures about the disk. Does not belong here: fetching and
promoting (`engine`), and what is said about any of it (`cli`, `defs`).
"""
