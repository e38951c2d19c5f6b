"""Claims about the store: what is measured, on which database, how it is told."""
