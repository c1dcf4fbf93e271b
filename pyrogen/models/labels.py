"""Labels, for stories."""

from pyrogen.nn import Label

__all__ = ["Label"]
