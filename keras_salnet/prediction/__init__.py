"""Predictions for files: pictures, folders of any size, films and cameras."""
