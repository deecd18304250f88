"""The checker that the tests put around every annotated function: beartype, which also takes an int for a float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
