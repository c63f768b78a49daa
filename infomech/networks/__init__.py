"""Filters of convolutional networks: what they do together to what passes through them."""
