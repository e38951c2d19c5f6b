"""A candidate in the form that is served: merged, quantised, GGUF; what of it survives."""
