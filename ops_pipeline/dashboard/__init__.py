"""The dashboard: pages in a browser over a home's database, which they only read.

Belongs here: pages (`views`), what they are made of (`repository`, `models`), and how it looks (`theme`, `markup`, `charts`). Does not
belong here: SQL (`ops`, `gold`), anything that writes, anything that the pipeline needs to run.

Streamlit is imported by this package and by nothing else of the project.
"""
