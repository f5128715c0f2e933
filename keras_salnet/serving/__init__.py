"""A model behind HTTP: `keras-salnet serve`."""
