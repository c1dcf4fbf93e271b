"""What a recorded step depends on besides tensors: the Python state that its program may read, and its changes."""
