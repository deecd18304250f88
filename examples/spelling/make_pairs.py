"""Write misspelled and correct sentences, a pair to a line, for examples/spelling/run.sh.

    python examples/spelling/make_pairs.py PAIRS > pairs.tsv

The correct sentences are the English ones of the synthetic grammar; each gets typing errors at random places.
"""

from __future__ import annotations

import random
import sys

from seq2seq.data.corpora.grammar.generate import generate

LONGEST = 30
"""Characters. Training on characters costs much more per sentence than training on subwords."""
ERROR_RATE = 0.06
"""Share of characters with an error at them."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def misspell(text: str, rng: random.Random) -> str:
    """Return the text with letters dropped, doubled, replaced, or swapped with the next one."""
    letters = list(text)
    i = 0
    while i < len(letters):
        if letters[i].isalpha() and rng.random() < ERROR_RATE:
            kind = rng.choice(["drop", "double", "replace", "swap"])
            if kind == "drop":
                letters[i] = ""
            elif kind == "double":
                letters[i] *= 2
            elif kind == "replace":
                letters[i] = rng.choice(LETTERS)
            elif i + 1 < len(letters):
                letters[i], letters[i + 1] = letters[i + 1], letters[i]
                i += 1  # the swapped letter is not changed again
        i += 1
    return "".join(letters)


def main() -> None:
    """Write as many pairs as the command line asks for."""
    count = int(sys.argv[1])
    rng = random.Random(1)
    short = [english for english, _ in generate(8 * count, seed=1) if len(english) <= LONGEST][:count]
    for correct in short:
        print(f"{misspell(correct, rng)}\t{correct}")


if __name__ == "__main__":
    main()
