"""Compiled element-wise kernels of the recurrent step on a CPU."""
