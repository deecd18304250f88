"""Measurement of the benchmark, in its own process: reading and encoding a corpus."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from benchmark_figures import runtime_config
from benchmark_timing import peak_rss_mb, timed
from benchmark_work import MAX_LENGTH, Settings, make_tokenizer, read

from seq2seq.data.encoding.binarised import prepare
from seq2seq.runtime import configure


def prepare_pairs(settings: Settings, folder: str) -> dict[str, float]:
    """Read the text of `folder` and encode it to ids on disk."""
    configure(runtime_config(settings))
    tokenizer = make_tokenizer(read(Path(settings.data), "train"), settings.vocab, settings.cache)
    figures = {"start_rss_mb": peak_rss_mb()}
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        read_sec, text = timed(functools.partial(read, Path(folder), "train"))
        figures["read_rss_mb"] = peak_rss_mb()
        prepare_sec, pairs = timed(functools.partial(prepare, text, tokenizer, MAX_LENGTH, Path(cache)))
    figures["pairs_per_min"] = 60 * (len(pairs) + pairs.dropped) / (read_sec + prepare_sec)
    return {**figures, "peak_rss_mb": peak_rss_mb()}
