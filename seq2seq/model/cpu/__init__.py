"""The layers of `model` made fast: compiled kernels, packed products, torch's fused layers; `dispatch` chooses."""
