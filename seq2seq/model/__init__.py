"""The network: encoder, attention, decoder."""
