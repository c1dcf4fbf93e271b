"""Convolutional networks: encoders, decoders, U-Net, critics, generators."""
