"""What the commands share: options, exit status, Hydra composition, text input and output."""
