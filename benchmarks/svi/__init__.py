"""What `svi_step.py` measures: cases, told in Pyro, in plain torch and in NumPyro, and the ways to take their steps."""
