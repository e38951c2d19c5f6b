"""`errata bench`: artifacts of a model side by side, as users would meet them."""
