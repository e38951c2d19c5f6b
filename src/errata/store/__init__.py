"""The one truth about what was done: runs, files, lineage and the audit ledger."""
