"""Count translations that differ between batch sizes and between orders of the same lines.

    python scripts/batch_invariance.py MODEL --src train.en.gz --lines 5000

Half of the lines are the first lines of the file. The other half are adversarial variants: shuffled, repeated,
truncated or capitalised words, random scripts, control characters and bytes. In fp32 the count must be 0; in bf16 it is
only reported.
"""

from __future__ import annotations

import argparse
import random
import sys

from seq2seq.config.runtime import RuntimeConfig
from seq2seq.config.training import PrecisionName
from seq2seq.data.files.reading import read_lines
from seq2seq.inference.translator import Translator
from seq2seq.runtime import configure

BATCH_TOKENS = (4096, 1500, 300, 1)  # 1: one sentence per batch


def main() -> int:
    """Print the counts; return 1 if a translation differs in fp32."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model file or run folder")
    parser.add_argument("--src", required=True, help="file of source sentences, plain or .gz")
    parser.add_argument("--lines", type=int, default=5000, help="number of lines (default: 5000)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="default: fp32")
    parser.add_argument("--threads", type=int, help="CPU threads (default: chosen by torch)")
    args = parser.parse_args()
    configure(RuntimeConfig(threads=args.threads))
    rng = random.Random(0)
    real = read_lines(args.src)[: args.lines // 2]
    lines = [*real, *(adversarial(rng.choice(real), rng) for _ in range(args.lines - len(real)))]
    translator = Translator.load(args.model, precision=PrecisionName(args.precision))
    order = rng.sample(range(len(lines)), len(lines))
    expected: list[str] | None = None
    differing = 0
    for batch_tokens in BATCH_TOKENS:
        for name, positions in (("in order", range(len(lines))), ("shuffled", order)):
            output = translator.translate([lines[i] for i in positions], batch_tokens=batch_tokens)
            translations = [text for _, text in sorted(zip(positions, output, strict=True))]
            expected = expected or translations
            count = sum(a != b for a, b in zip(translations, expected, strict=True))
            differing += count
            print(f"batch_tokens {batch_tokens}, {name}: {count} of {len(lines)} differ from the first run", flush=True)
    return int(differing > 0 and args.precision == "fp32")


def adversarial(line: str, rng: random.Random) -> str:
    """Return an unusual variant of a line."""
    words = line.split()
    match rng.randrange(7):
        case 0:
            return " ".join(rng.sample(words, len(words)))
        case 1:
            return " ".join(rng.choices(words, k=rng.randint(1, 60)))
        case 2:
            return " ".join([rng.choice(words)] * rng.randint(2, 40))
        case 3:
            return line.upper()
        case 4:
            return line[: rng.randint(1, len(line))]
        case 5:
            return "".join(chr(rng.randrange(1, 0x3000)) for _ in range(rng.randint(1, 30)))
        case _:
            return rng.randbytes(rng.randint(1, 60)).decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(main())
