"""One module a page: each has `show(repository)`.

Belongs here: what stands where on a page, and the sentences on it. Does not belong here: reading (`repository`), figures (`models`).
"""
