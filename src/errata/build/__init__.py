"""Failures become training data: the answer we want, the pair that shows it, and proof of both."""
