"""The report of `pyrogen diagnose`: its page, pictures, and remedies as commands."""
