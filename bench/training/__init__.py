"""Duels of the training engine against TRL: what is compared, how it is made, how it is told."""
