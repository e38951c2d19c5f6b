"""Raw rows become failures: read, redacted, counted, put into buckets by label, and described."""
