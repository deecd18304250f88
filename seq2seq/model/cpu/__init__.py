"""Fast implementations of the layers, mostly for CPUs (`torch_layers` also for cuDNN); `dispatch` chooses."""
