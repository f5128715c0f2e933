"""Images: their files, their place in the network's input, and drawings of maps on them."""
