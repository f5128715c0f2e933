"""Predictions for files: pictures, folders of any size, videos and cameras."""
