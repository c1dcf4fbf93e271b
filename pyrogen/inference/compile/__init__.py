"""Compiled steps: a program traced into a graph of tensor operations, and that graph as machine code."""
