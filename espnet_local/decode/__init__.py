"""Searches, and decoding of data sets with trained models."""
