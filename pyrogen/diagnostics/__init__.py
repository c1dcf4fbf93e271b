"""Whether to believe a posterior: draws and densities in ArviZ's own data format."""

from pyrogen.diagnostics.arviz_export import GROUPS, to_datatree, to_inference_data

__all__ = ["GROUPS", "to_datatree", "to_inference_data"]
