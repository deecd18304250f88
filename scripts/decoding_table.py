"""Print quality and speed of each search option as a Markdown table, measured on one validation set.

    python scripts/decoding_table.py MODEL[,MODEL...] --src val.en.gz --ref val.de.gz > table.md

Speed is relative to the default search, which is timed before and after each row to cancel a drift of the machine.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from sacrebleu import CHRF

from seq2seq.config.decode import NormalizationName, SearchName, UtilityName
from seq2seq.config.runtime import RuntimeConfig
from seq2seq.data.files.reading import read_lines
from seq2seq.evaluation.metrics import bleu
from seq2seq.inference.translator import Translator
from seq2seq.runtime import configure
from seq2seq.search.batched_search import SearchInput
from seq2seq.search.beam import beam_search
from seq2seq.search.length_penalty import length_penalty

AVERAGE, NONE = NormalizationName.average, NormalizationName.none
SAMPLE, MBR = SearchName.sample, SearchName.mbr
ROWS: dict[str, dict[str, Any]] = {
    "default (beam 5, gnmt 1.0)": {},
    **{f"beam_size={n}": {"beam_size": n} for n in (1, 2, 3, 10, 20)},
    **{f"length_penalty={a}": {"length_penalty": a} for a in (0.0, 0.6, 1.4, 2.0)},
    "length_normalization=average": {"length_normalization": AVERAGE},
    "length_normalization=none": {"length_normalization": NONE},
    **{f"coverage_penalty={b}": {"coverage_penalty": b} for b in (0.1, 0.2, 0.4)},
    "no_repeat_ngram=3": {"no_repeat_ngram": 3},
    "repetition_penalty=1.2": {"repetition_penalty": 1.2},
    "min_length_ratio=0.7": {"min_length_ratio": 0.7},
    "never_emit=[und]": {"never_emit": ["und"]},
    "search=sample": {"search": SAMPLE},
    "search=sample temperature=0.5": {"search": SAMPLE, "temperature": 0.5},
    "search=sample top_k=10": {"search": SAMPLE, "top_k": 10},
    "search=sample top_p=0.7": {"search": SAMPLE, "top_p": 0.7},
    "search=mbr (32, chrf)": {"search": MBR},
    "search=mbr (32, chrf) temperature=0.5": {"search": MBR, "temperature": 0.5},
    "search=mbr (32, bleu) temperature=0.5": {"search": MBR, "temperature": 0.5, "mbr_utility": UtilityName.bleu},
}


def main() -> None:
    """Print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model file or run folder; comma-separated models add a row for their ensemble")
    parser.add_argument("--src", required=True, help="source sentences, plain or .gz")
    parser.add_argument("--ref", required=True, help="reference translations, line-aligned with --src")
    parser.add_argument("--sentences", type=int, metavar="N", help="use the first N sentences (default: all)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: chosen by torch)")
    args = parser.parse_args()
    configure(RuntimeConfig(threads=args.threads))
    src, ref = (read_lines(path)[: args.sentences] for path in (args.src, args.ref))
    paths = args.model.split(",")
    first = Translator.load(paths[0])
    rows = {name: (first, options) for name, options in ROWS.items()}
    if len(paths) > 1:
        rows |= {f"model {i}": (Translator.load(path), {}) for i, path in enumerate(paths[1:], start=2)}
        rows[f"ensemble of {len(paths)}"] = Translator.load(*paths), {}
    timed(first, src, {})  # warm-up
    before, _ = timed(first, src, {})
    print("| setting | BLEU | chrF | length ratio | speed |\n|---|---|---|---|---|", flush=True)
    for name, (translator, options) in rows.items():
        seconds, output = timed(translator, src, options)
        after, _ = timed(first, src, {})
        speed, before = (before + after) / 2 / seconds, after
        ratio = words(output) / words(ref)
        chrf = CHRF().corpus_score(output, [ref]).score
        print(f"| {name} | {bleu(output, ref):.2f} | {chrf:.2f} | {ratio:.3f} | {speed:.2f} |", flush=True)
    steps, extra = exact_stopping(first, src)
    print(
        f"\nexact stopping: {extra / len(src):.2f} of {steps / len(src):.2f} steps per sentence follow its final result"
    )


def timed(translator: Translator, src: list[str], options: dict[str, Any]) -> tuple[float, list[str]]:
    """Translate; return seconds and output."""
    start = time.perf_counter()
    output = translator.translate(src, **options)
    return time.perf_counter() - start, output


def exact_stopping(translator: Translator, src: list[str]) -> tuple[int, int]:
    """Return the steps that all sentences were searched for, and how many came after the last change of the answer."""
    decode, ensemble = translator.decode, translator.ensemble
    penalty = length_penalty(decode.length_normalization, decode.length_penalty)
    steps = extra = 0
    for ids in translator.tokenizer.encode_src(src):
        with translator.inference_mode():
            result = beam_search(
                ensemble.step,
                ensemble.start([ids], translator.device),
                torch.tensor([SearchInput(ids, [], []).max_length(decode)]),
                beam_size=decode.beam_size,
                penalty=penalty,
            )
        steps, extra = steps + result.steps, extra + result.extra_steps[0]
    return steps, extra


def words(lines: list[str]) -> int:
    """Return the number of words separated by white space."""
    return sum(len(line.split()) for line in lines)


if __name__ == "__main__":
    main()
