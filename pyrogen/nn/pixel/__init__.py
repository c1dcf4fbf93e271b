"""Networks over pixels in order: masked convolutions, recurrent networks, transformers."""
