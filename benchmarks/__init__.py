"""Measurements: speed and memory against a plain loop, quality against real data."""
