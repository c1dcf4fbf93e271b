"""Data as batches: rows of columns in memory, or whatever a `DataLoader` gives."""
