"""Subcommand: list the parallel corpora of a language pair that are known by name."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from seq2seq.cli.process_options import CommandParser, path_type
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.data.index.corpus_index import Dataset

UNKNOWN = "unknown"
HEAD_TIMEOUT_SEC = 10.0
CONNECTIONS = 8


def add_parser(subparsers: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    """See `app.Subcommand`."""
    parser = subparsers.add_parser(
        "search",
        help="list the corpora of a language pair",
        description="List the parallel corpora of a language pair that mtdata's index has, without the network: name, "
        "what is downloaded, size, licence, host, and the overrides that train on it.",
    )
    parser.add_argument("pair", metavar="SRC-TGT", help="language codes of ISO 639: en-de, eng-deu, en-zh_Hant")
    parser.add_argument("text", metavar="TEXT", nargs="*", help="list only corpora with every TEXT in name or URL")
    parser.add_argument("--sizes", action="store_true", help="ask the servers for sizes (needs the network)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON per corpus instead of a table")
    parser.add_argument("--cache-dir", type=path_type, metavar="DIR", help="folder of downloads, whose sizes are known")
    return parser


def main(args: argparse.Namespace) -> None:
    """Print the corpora.

    Raises:
        ConfigError: an unknown language, or mtdata is not installed.
    """
    from seq2seq.data.index.corpus_index import find

    src, tgt = languages(args.pair)
    words = [word.lower() for word in args.text]
    found = [
        dataset
        for dataset in find(src, tgt)
        if all(word in f"{dataset.name} {' '.join(dataset.urls)}".lower() for word in words)
    ]
    if not found:
        text = f" with {' and '.join(args.text)}" if words else ""
        sys.stderr.write(f"no corpus of {src}-{tgt}{text}\n")
    records = [record(dataset, src, tgt, size) for dataset, size in zip(found, sizes(found, args), strict=True)]
    for line in [json.dumps(item, ensure_ascii=False) for item in records] if args.json else table(records):
        sys.stdout.write(f"{line}\n")


def languages(pair: str) -> tuple[str, str]:
    """Return the languages of a pair, each as its shortest code.

    Raises:
        ConfigError: it is not two codes of known languages.
    """
    from seq2seq.data.index.languages import language

    codes = pair.split("-")
    if len(codes) != 2 or not all(codes):
        raise ConfigError(f"{pair!r} is no language pair: write two codes, for example en-de (zh_Hant, not zh-Hant)")
    found = [language(code) for code in codes]
    src, tgt = (one.tag if one.script or one.region else one.short for one in found)
    return src, tgt


def sizes(datasets: list[Dataset], args: argparse.Namespace) -> list[int | None]:
    """Return the bytes to download for each corpus: of downloaded ones, and with --sizes as the servers state them."""
    from seq2seq.data.corpora.indexed import cached_size
    from seq2seq.data.files.download import cache_dir

    cache = cache_dir(args.cache_dir)
    if not args.sizes:
        return [cached_size(dataset, cache) for dataset in datasets]
    from seq2seq.data.files.http_download import content_length

    def total(dataset: Dataset) -> int | None:
        lengths = [content_length(url, HEAD_TIMEOUT_SEC) for url in dataset.urls if not dataset.hub]
        return None if None in lengths or not lengths else sum(filter(None, lengths))

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        return list(threads.map(total, datasets))


def record(dataset: Dataset, src: str, tgt: str, size: int | None) -> dict[str, object]:
    """Return what is printed of a corpus."""
    from seq2seq.data.corpora.indexed import READABLE, hub_overrides

    name = dataset.name if re.fullmatch(r"[\w.+-]+", dataset.name, re.ASCII) else f'"{dataset.name}"'
    source = hub_overrides(dataset) if dataset.hub else ["data=mtdata", f"data.datasets=[{name}]"]
    readable = bool(dataset.hub) or dataset.format in READABLE
    return {
        "name": dataset.name,
        "kind": dataset.kind,
        "bytes": size,
        "licence": dataset.licence or UNKNOWN,
        "urls": list(dataset.urls),
        "citation": list(dataset.citation),
        "overrides": [source[0], f"data.src={src}", f"data.tgt={tgt}", *source[1:]] if readable else None,
    }


def table(records: list[dict[str, object]]) -> list[str]:
    """Return aligned lines with a heading."""
    rows = [("NAME", "KIND", "SIZE", "LICENCE", "HOST", "TRAIN WITH")]
    for item in records:
        urls, overrides = item["urls"], item["overrides"]
        assert isinstance(urls, list)
        host = urlsplit(urls[0]).hostname or UNKNOWN
        shown = shlex.join(overrides) if isinstance(overrides, list) else "not read: convert it, data=files"
        rows.append((str(item["name"]), str(item["kind"]), in_units(item["bytes"]), str(item["licence"]), host, shown))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return lines if records else []


def in_units(size: object) -> str:
    """Return a number of bytes with three digits and a unit."""
    if not isinstance(size, int):
        return UNKNOWN
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"
