"""Counts of ranks on a GPU, by Triton kernels on its tensor cores."""
