"""Quality of a guide: importance weights, calibration, inference gaps, reference posteriors."""
