"""A list of pairs, written in any format and compression, is read back as the same pairs."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

import pyarrow
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from scaling import scaled
from seq2seq.config.text_files import FilesConfig
from seq2seq.data.files.reading import read_pairs

Pairs = list[tuple[str, str]]

NOT_XML = "".join(map(chr, [*range(0x20), 0x7F, 0xFFFE, 0xFFFF]))
sentence = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=NOT_XML), max_size=20)
odd = st.sampled_from([*"\"',;{[<&\\\u2028\x85\ufeff1é", "]]>", "\\n", "src"])
side = st.one_of(sentence, st.lists(odd, max_size=4).map("".join))
pair_lists = st.lists(st.tuples(side, side), max_size=6).map(lambda pairs: [*pairs, ("first", "last")])


def as_tsv(pairs: Pairs) -> bytes:
    return "".join(f"{src}\t{tgt}\n" for src, tgt in [("src", "tgt"), *pairs]).encode()


def as_csv(pairs: Pairs) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows([("src", "tgt"), *pairs])
    return file.getvalue().encode()


def as_json(pairs: Pairs) -> bytes:
    return "".join(json.dumps({"src": src, "tgt": tgt}) + "\n" for src, tgt in pairs).encode()


def as_tmx(pairs: Pairs) -> bytes:
    units = (
        f'<tu><tuv xml:lang="en"><seg>{escape(src)}</seg></tuv><tuv lang="de"><seg>{escape(tgt)}</seg></tuv></tu>'
        for src, tgt in pairs
    )
    return f"<tmx><body>{''.join(units)}</body></tmx>".encode()


def as_parquet(pairs: Pairs) -> bytes:
    file = io.BytesIO()
    rows = [{"en": src, "de": tgt} for src, tgt in pairs]
    parquet.write_table(pyarrow.table({"translation": rows}), file, row_group_size=2)
    return file.getvalue()


def xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=0)  # the default takes milliseconds to begin


COMPRESSIONS: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, xz, bz2.compress, zstandard.compress]
FORMATS: list[Callable[[Pairs], bytes]] = [as_tsv, as_csv, as_json, as_tmx, as_parquet]


@pytest.mark.parametrize("compress", COMPRESSIONS, ids=["plain", "gzip", "xz", "bzip2", "zstd"])
@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
@example(pairs=[("src", "tgt"), ("first", "last")])
@given(pairs=pair_lists)
@settings(
    max_examples=scaled(20, 500),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_format_reads_back(
    tmp_path: Path, pairs: Pairs, write: Callable[[Pairs], bytes], compress: Callable[[bytes], bytes]
) -> None:
    if write is as_parquet and compress is not bytes:
        return  # refused: it is compressed inside
    (tmp_path / "file").write_bytes(compress(write(pairs)))
    files = FilesConfig(table=str(tmp_path / "file"))
    if write is as_tsv:  # a line of white space is a pair of blank sentences
        pairs = [pair if "".join(pair).strip() else ("", "") for pair in pairs]
    assert list(read_pairs(files, "k", ("en", "de"))) == pairs


@pytest.mark.parametrize("compress", COMPRESSIONS, ids=["plain", "gzip", "xz", "bzip2", "zstd"])
@given(pairs=pair_lists)
@settings(
    max_examples=scaled(20, 500),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_two_files_read_back(tmp_path: Path, pairs: Pairs, compress: Callable[[bytes], bytes]) -> None:
    pairs = [("first", "last"), *pairs]
    for number, name in enumerate(("src", "tgt")):
        (tmp_path / name).write_bytes(compress("".join(f"{pair[number]}\n" for pair in pairs).encode()))
    files = FilesConfig(src=str(tmp_path / "src"), tgt=str(tmp_path / "tgt"))
    assert list(read_pairs(files, "k")) == pairs
