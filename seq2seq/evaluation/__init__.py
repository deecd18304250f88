"""How good translations are: corpus metrics against references."""
