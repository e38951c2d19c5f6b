"""The output filter: what a model says is read before a user does."""
