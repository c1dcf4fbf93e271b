"""Stories for MNIST: their settings, and how they are trained and judged, all under one protocol."""
