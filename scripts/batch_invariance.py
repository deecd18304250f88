"""Does a translation depend on what it is translated with? Counts outputs that differ between batch sizes and orders.

    python scripts/batch_invariance.py MODEL --src train.en.gz --lines 5000

Half of the lines are the first of the file, half are made from it to be awkward: shuffled, repeated, cut and
capitalised ones, random scripts, control characters and bytes. In fp32 the count must be 0; bf16 is only reported.
"""

from __future__ import annotations

import argparse
import random
import sys

from seq2seq.config.runtime import RuntimeConfig
from seq2seq.config.training import PrecisionName
from seq2seq.data.corpus import read_lines
from seq2seq.inference.translator import Translator
from seq2seq.runtime import configure

BATCH_TOKENS = (4096, 1500, 300, 1)  # 1: every sentence alone


def main() -> int:
    """Print the counts and return 1 if any output differs in fp32."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model file or run folder")
    parser.add_argument("--src", required=True, help="real lines, plain or .gz")
    parser.add_argument("--lines", type=int, default=5000)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    configure(RuntimeConfig(threads=args.threads))
    random_state = random.Random(0)
    real = read_lines(args.src)[: args.lines // 2]
    lines = [*real, *(hostile(random_state.choice(real), random_state) for _ in range(args.lines - len(real)))]
    translator = Translator.load(args.model, precision=PrecisionName(args.precision))
    order = random_state.sample(range(len(lines)), len(lines))
    expected: list[str] | None = None
    differing = 0
    for batch_tokens in BATCH_TOKENS:
        for name, places in (("in order", range(len(lines))), ("shuffled", order)):
            output = translator.translate([lines[i] for i in places], batch_tokens=batch_tokens)
            found = [text for _, text in sorted(zip(places, output, strict=True))]
            expected = expected or found
            count = sum(a != b for a, b in zip(found, expected, strict=True))
            differing += count
            print(f"batch_tokens {batch_tokens}, {name}: {count} of {len(lines)} differ from the first run", flush=True)
    return int(differing > 0 and args.precision == "fp32")


def hostile(line: str, random_state: random.Random) -> str:
    """Return a line that no training text holds, made from one that it does."""
    words = line.split()
    match random_state.randrange(7):
        case 0:
            return " ".join(random_state.sample(words, len(words)))
        case 1:
            return " ".join(random_state.choices(words, k=random_state.randint(1, 60)))
        case 2:
            return " ".join([random_state.choice(words)] * random_state.randint(2, 40))
        case 3:
            return line.upper()
        case 4:
            return line[: random_state.randint(1, len(line))]
        case 5:
            return "".join(chr(random_state.randrange(1, 0x3000)) for _ in range(random_state.randint(1, 30)))
        case _:
            return random_state.randbytes(random_state.randint(1, 60)).decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(main())
