"""Measurements of the pipeline against the barest code that does the same; see README.md. Nothing of the pipeline imports them."""
