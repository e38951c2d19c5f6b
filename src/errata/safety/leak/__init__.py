"""Was a secret given away, however it was written? `search.py` is the way in."""
