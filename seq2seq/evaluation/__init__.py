"""How good translations are: corpus metrics, their table, and the validation that a trainer is given."""
