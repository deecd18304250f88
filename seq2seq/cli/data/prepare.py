"""Subcommand: prepare the data of a training run. `python -m seq2seq.data prepare KEY=VALUE …`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from seq2seq.cli.data.overrides import run_config
from seq2seq.cli.process_options import CommandParser

if TYPE_CHECKING:
    from seq2seq.config.data import DataConfig
    from seq2seq.config.schema import Config
    from seq2seq.data.corpus import Corpus
    from seq2seq.data.encoding.binarised import ShardWriter
    from seq2seq.data.subwords.tokenizer import Tokenizer

log = logging.getLogger(__name__)

DESCRIPTION = """\
Do the part of `python -m seq2seq.train KEY=VALUE …` that precedes the training: read and clean the text, hold out
validation and test pairs, learn the vocabulary, and encode all pairs into the cache. A training run with these
overrides then starts at once. A command that is killed goes on where it was; a second one finds everything done.
"""
REPORT_SEC = 10.0


def add_parser(subparsers: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    """Add the parser of the subcommand and return it."""
    parser = subparsers.add_parser("prepare", help="read, clean and encode the text of a run", description=DESCRIPTION)
    parser.add_argument(
        "overrides", metavar="KEY=VALUE", nargs="*", help="overrides of the training config, as of the train command"
    )
    parser.add_argument(
        "--engine",
        choices=("ray",),
        help="ray: encode on the Ray cluster that this machine belongs to, or on a temporary one of its cores; data, "
        "cache and code are on a file system that all machines share (needs the extra ray)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    return parser


def main(args: argparse.Namespace) -> int | None:
    """Do the work; raises as `exit_status.run` expects."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("seq2seq").setLevel(logging.INFO)
    result = prepared(run_config(args.overrides), args.engine)
    if args.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        shown = (f"{value:,}" if isinstance(value, int) else str(value) for value in result.values())
        sys.stdout.write("".join(f"{key}: {text}\n" for key, text in zip(result, shown, strict=True)))
    return None


def prepared(config: Config, engine: str | None = None) -> dict[str, Any]:
    """Prepare the data of a run and return what was prepared; raises as `train` and, with engine=ray, as `cluster`."""
    from seq2seq.config.data import MAIN
    from seq2seq.data.corpora.load import load_corpus
    from seq2seq.data.subwords.new_tokenizer import new_tokenizer
    from seq2seq.training.fine_tuning import load_pretrained

    seconds: dict[str, float] = {}
    with _timed(seconds, "text"):
        corpus = load_corpus(config.data)
    with _timed(seconds, "vocabulary"):
        tokenizer = load_pretrained(config, None).tokenizer
        if tokenizer is None:
            tokenizer, _ = new_tokenizer(corpus, config.data)
    with _timed(seconds, "encoding"):
        corpora = {
            name: _encoded(part, config.data.corpora()[name], config.training.batch_tokens, tokenizer, engine)
            for name, part in {MAIN: corpus, **corpus.mix}.items()
        }
    main_corpus = corpora.pop(MAIN)
    vocabulary = [tokenizer.src_size, tokenizer.tgt_size]
    return main_corpus | ({"mix": corpora} if corpora else {}) | {"vocabulary": vocabulary, "seconds": seconds}


def _encoded(
    corpus: Corpus, data: DataConfig, batch_tokens: int, tokenizer: Tokenizer, engine: str | None
) -> dict[str, Any]:
    """Encode one corpus and return what was prepared; `tokens` are those of both sides, EOS included."""
    from seq2seq.data.encoding.binarised import log_dropped, prepare
    from seq2seq.data.files.download import cache_dir

    cache = cache_dir(data.cache_dir)
    # As `epoch_batches.CorpusPairs`: augmentation changes the lengths, and prepares without a limit.
    max_length = None if data.augment.active else min(data.max_length, batch_tokens)
    if len(corpus.valid):
        prepare(corpus.valid, tokenizer, None, cache)
    write: ShardWriter | None = None
    if engine == "ray":
        from seq2seq.data.encoding import ray_shards

        write = ray_shards.write_shards
    with _progress(len(corpus.train)) as progress:
        pairs = prepare(corpus.train, tokenizer, max_length, cache, progress, write)
    log_dropped(pairs, max_length)
    return {
        "folder": str(pairs.folder),
        "pairs": len(pairs),
        "too_long": pairs.dropped,
        "valid": len(corpus.valid),
        "tests": {name: len(text) for name, text in corpus.tests.items()},
        "tokens": [int(lengths.sum(dtype="int64")) for lengths in (pairs.src_lengths, pairs.tgt_lengths)],
    }


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Write the seconds of the block into `seconds`."""
    start = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - start, 3)


@contextmanager
def _progress(pairs: int) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of finished and all shards: it moves a bar on a terminal, elsewhere it logs at times."""
    from seq2seq.cli.progress import bar

    start = reported = time.monotonic()
    before: int | None = None

    def report(done: int, total: int) -> None:
        nonlocal reported, before
        before = done if before is None else before
        now = time.monotonic()
        if done > before and (now - reported > REPORT_SEC or done == total):
            reported = now
            rate = (done - before) * pairs / total / (now - start)
            left = (total - done) / total * pairs / rate
            figures = map(_grouped, (done * pairs // total, pairs, rate, left))
            log.info("encoded %s of %s pairs, %s a second, %s s left", *figures)

    if not sys.stderr.isatty():
        yield report
        return
    with bar(pairs) as advance:
        shown = 0

        def move(done: int, total: int) -> None:
            nonlocal shown
            advance(done * pairs // total - shown)
            shown = done * pairs // total

        yield move


def _grouped(number: int | float) -> str:
    return f"{number:,.0f}"
