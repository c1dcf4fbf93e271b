"""Draws and codes from a trained story: posterior, predictive, encoding, decoding, imputation."""
