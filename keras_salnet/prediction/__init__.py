"""Predicting at length: videos and cameras, frame after frame."""
