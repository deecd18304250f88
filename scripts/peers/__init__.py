"""Other toolkits at the work of the benchmark: environments, and a driver of each that runs in its environment."""
