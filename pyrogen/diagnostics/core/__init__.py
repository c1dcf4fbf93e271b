"""What every diagnostic needs: estimates with errors, the structure of a program, draws, log densities."""
