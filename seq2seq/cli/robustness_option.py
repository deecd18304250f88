"""The option that names variants of a test set."""

from __future__ import annotations

import argparse

from seq2seq.config.data import RobustnessName


def robustness_names(text: str) -> list[RobustnessName]:
    """Read the value of --robustness."""
    known = RobustnessName.__members__
    names = list(known) if text == "all" else text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown: use {', '.join(known)} or all")
    return [known[name] for name in dict.fromkeys(names)]
