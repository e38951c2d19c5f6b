"""Claims about data: what is measured, on which rows, against whom."""
