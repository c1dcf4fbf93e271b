"""Components of diffusion models: noise schedules, prediction targets, reconstruction."""
