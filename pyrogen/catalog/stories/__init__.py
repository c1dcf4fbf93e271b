"""The table of the catalog: one entry for each story, with its settings and training defaults."""
