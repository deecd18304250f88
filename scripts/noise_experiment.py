"""Measure the filters of `data.clean` on noise that is known: what they drop, and what BLEU gains.

    python scripts/noise_experiment.py FOLDER --src en --tgt de --other french.txt
    python scripts/noise_experiment.py FOLDER --src en --tgt de --other french.txt --steps 1500 --results noise.jsonl

FOLDER has train.SRC, train.TGT, valid.SRC and valid.TGT, plain or .gz. Each kind of noise is made from clean training
pairs that are otherwise left out (duplicates from those that are not), and mixed into the others. The first command
prints the table of the filters in seconds. With --steps, networks are trained as well, one after the other, on the text
with and without noise, and the validation BLEU of each is appended to --results; a later call skips what is there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from seq2seq.data.files.reading import read_lines, read_pair
from seq2seq.data.files.text_file import text_lines
from seq2seq.data.filters.presets import LIGHT, STRICT, pipeline

Pair = tuple[str, str]
CLEAN = "clean"
CONDITIONS = ("without noise", "none", "light", "strict")
"""Training runs: on the clean pairs alone, and with noise at each value of data.clean."""
NETWORK = (
    *("model.emb_size=192", "model.hidden_size=256", "model.attention_size=128"),
    *("training.batch_tokens=512", "training.learning_rate=3e-3"),
)


def main() -> None:
    """Print the table of the filters; train and print the table of BLEU if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--src", required=True, metavar="CODE")
    parser.add_argument("--tgt", required=True, metavar="CODE")
    parser.add_argument("--other", metavar="FILE", help="sentences of a third language (default: those of the source)")
    parser.add_argument("--pairs", type=int, default=40_000, help="clean pairs (default: 40,000)")
    parser.add_argument("--share", type=float, default=0.1, help="pairs of each noise per clean pair (default: 0.1)")
    parser.add_argument("--seed", type=int, default=1, help="of the noise (default: 1)")
    parser.add_argument("--steps", type=int, default=0, help="updates of each training run (default: 0: no training)")
    parser.add_argument("--seeds", type=int, default=3, help="training runs per condition (default: 3)")
    parser.add_argument("--results", type=Path, default=Path("noise.jsonl"), help="BLEU of the runs so far")
    parser.add_argument("--at-most", type=int, default=1000, metavar="N", help="training runs of this call")
    args = parser.parse_args()
    pairs = list(read_pair(*(found(args.folder, "train", code) for code in (args.src, args.tgt))))
    other = read_lines(args.other) if args.other else [src for src, _ in pairs]
    noisy = with_noise(pairs, other, args.pairs, args.share, random.Random(args.seed))
    print_filters(noisy, (args.src, args.tgt))
    if args.steps:
        train_all(noisy, args)


def found(folder: Path, part: str, code: str) -> Path:
    """Return the file of a part of the corpus, plain or compressed."""
    plain = folder / f"{part}.{code}"
    return plain if plain.exists() else plain.with_name(f"{plain.name}.gz")


# --- noise -----------------------------------------------------------------------------------------------------------


def misaligned(pair: Pair, other: str, following: Pair) -> Pair | None:
    """Return a source with the target of another pair."""
    return pair[0], following[1]


def copied(pair: Pair, other: str, following: Pair) -> Pair | None:
    """Return a source that was not translated."""
    return pair[0], pair[0]


def foreign(pair: Pair, other: str, following: Pair) -> Pair | None:
    """Return a source with a sentence of another language."""
    return pair[0], other


def truncated(pair: Pair, other: str, following: Pair) -> Pair | None:
    """Return a target without its second half; None if it has less than four words."""
    words = pair[1].split()
    return (pair[0], " ".join(words[: len(words) // 2])) if len(words) >= 4 else None


def mojibake(pair: Pair, other: str, following: Pair) -> Pair | None:
    """Return a target whose UTF-8 was read as Windows-1252; None if that changes nothing or cannot be."""
    try:
        damaged = pair[1].encode("utf-8").decode("cp1252")
    except UnicodeDecodeError:
        return None
    return (pair[0], damaged) if damaged != pair[1] else None


NOISE: dict[str, Callable[[Pair, str, Pair], Pair | None]] = {
    "misaligned": misaligned,
    "copied": copied,
    "other language": foreign,
    "truncated": truncated,
    "mojibake": mojibake,
}
KINDS = (*NOISE, "duplicate")


def with_noise(
    pairs: Sequence[Pair], other: Sequence[str], count: int, share: float, generator: random.Random
) -> list[tuple[str, Pair]]:
    """Return `count` clean pairs and, for each kind of noise, `share` as many others, each with its kind.

    They are in random order, except that duplicates are at the end: the first of two equal pairs is the clean one.
    """
    shuffled = list(dict.fromkeys(pairs))
    generator.shuffle(shuffled)
    wanted = round(share * count)
    mixed = [(CLEAN, pair) for pair in shuffled[:count]]
    rest = iter(shuffled[count:])
    for kind, spoil in NOISE.items():
        made: list[tuple[str, Pair]] = []
        following = next(rest)
        while len(made) < wanted:
            pair, following = following, next(rest, ("", ""))
            if not following[0]:
                sys.exit(f"too few pairs in the folder for {wanted} of the kind {kind}: lower --pairs or --share")
            noise = spoil(pair, generator.choice(other), following)
            if noise is not None:
                made.append((kind, noise))
        mixed += made
    generator.shuffle(mixed)
    return mixed + [("duplicate", pair) for pair in generator.sample(shuffled[:count], wanted)]


# --- filters ---------------------------------------------------------------------------------------------------------


def print_filters(noisy: Sequence[tuple[str, Pair]], languages: tuple[str, str]) -> None:
    """Print for each filter and preset the share of each kind that it drops or repairs."""
    sizes = Counter(kind for kind, _ in noisy)
    print("pairs: " + ", ".join(f"{kind} {sizes[kind]:,}" for kind in (CLEAN, *KINDS)) + "\n")
    print(f"| filter | {' | '.join(KINDS)} | clean pairs dropped | precision |")
    print("|---" * (len(KINDS) + 3) + "|")
    for name, specs in [*((spec, [spec]) for spec in STRICT), ("light", LIGHT), ("strict", STRICT)]:
        caught = count_caught(noisy, specs, languages)
        if not caught:
            continue
        recalls = " | ".join(f"{caught[kind] / sizes[kind]:.1%}" for kind in KINDS)
        precision = 1 - caught[CLEAN] / caught.total()
        print(f"| `{name}` | {recalls} | {caught[CLEAN] / sizes[CLEAN]:.2%} | {precision:.1%} |", flush=True)


def count_caught(noisy: Iterable[tuple[str, Pair]], specs: Sequence[str], languages: tuple[str, str]) -> Counter[str]:
    """Return how many pairs of each kind the filters drop or change."""
    filters = pipeline(specs, languages)
    caught: Counter[str] = Counter()
    for kind, pair in noisy:
        result, reason = filters.judge(pair)
        caught[kind] += reason is not None or result != pair
    return +caught


# --- training --------------------------------------------------------------------------------------------------------


def train_all(noisy: Sequence[tuple[str, Pair]], args: argparse.Namespace) -> None:
    """Train every run that has no result yet, then print mean and standard deviation of each condition."""
    done = read_results(args.results)
    missing = [(c, s) for s in range(1, args.seeds + 1) for c in CONDITIONS if s not in done[c]]
    with tempfile.TemporaryDirectory() as folder:
        for number, (condition, seed) in enumerate(missing[: args.at_most]):
            text = [pair for kind, pair in noisy if kind == CLEAN or condition != CONDITIONS[0]]
            with contextlib.redirect_stdout(sys.stderr):  # the test prints translations
                bleu = trained_bleu(text, condition, seed, args, Path(folder, str(number)))
            with args.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"condition": condition, "seed": seed, "bleu": bleu}) + "\n")
    print("\n| text, data.clean | validation BLEU |\n|---|---|")
    for condition, scores in read_results(args.results).items():
        values = list(scores.values())
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        print(f"| {condition} | {statistics.mean(values):.2f}{spread} ({len(values)} seeds) |")


def read_results(path: Path) -> defaultdict[str, dict[int, float]]:
    """Return the BLEU of each condition and seed in the results file, if there is one."""
    results: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for line in text_lines(path, str(path)) if path.exists() else ():
        row = json.loads(line)
        results[row["condition"]][row["seed"]] = row["bleu"]
    return results


def trained_bleu(text: Sequence[Pair], condition: str, seed: int, args: argparse.Namespace, folder: Path) -> float:
    """Train a small network for a fixed number of updates and return the BLEU of its best model, with beam search."""
    import seq2seq

    folder.mkdir()
    keys = []
    for number, (side, code) in enumerate((("src", args.src), ("tgt", args.tgt))):
        train = folder / f"train.{code}"
        train.write_text("".join(f"{pair[number]}\n" for pair in text), encoding="utf-8")
        valid = found(args.folder.absolute(), "valid", code)
        keys += [f"data.train.{side}={train}", f"data.valid.{side}={valid}", f"data.test.{side}={valid}"]
    run = seq2seq.train(
        [
            "data=files",
            f"data.src={args.src}",
            f"data.tgt={args.tgt}",
            *keys,
            f"data.clean={'none' if condition == CONDITIONS[0] else condition}",
            *NETWORK,
            "training.max_minutes=null",
            f"training.max_steps={args.steps}",
            f"training.validate_every_steps={max(1, args.steps // 3)}",
            f"training.seed={seed}",
        ],
        folder / "run",
    )
    return run.scores["test"].bleu.value


if __name__ == "__main__":
    main()
