"""The examination of a run: its checks, thresholds, findings and verdict, and the export to ArviZ."""
