"""Attack suites of other projects, from the user's disk, as `Case`s: read.py has the formats."""
