"""Counts of ranks on the CPU, by float32 matrix products on every core."""
