"""From encoded pairs to padded batches, epoch by epoch."""
