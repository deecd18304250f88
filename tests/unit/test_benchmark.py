"""The textbook network computes our function, matrix products are counted completely, and the report is JSON."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import benchmark
import benchmark_work
import gemm
import pytest
import textbook
import torch
from torch.utils.flop_counter import FlopCounterMode

from seq2seq.config.decode import DecodeConfig
from seq2seq.config.model import AttentionName, DropoutConfig, ModelConfig
from seq2seq.data.batches.batch import Batch, make_batch
from seq2seq.data.special_ids import EOS_ID
from seq2seq.errors import DataError
from seq2seq.inference.ensemble import Ensemble
from seq2seq.model.network import Seq2Seq
from seq2seq.search.batched_search import SearchInput, search
from seq2seq.training.loss import smoothed_cross_entropy
from tiny_model import make_network

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

VOCAB = 31
NO_DROPOUT = DropoutConfig(embedding=0.0, layers=0.0, context=0.0, readout=0.0)
TINY = ModelConfig(emb_size=2, hidden_size=4, attention_size=3, dropout=NO_DROPOUT)  # 2 units an encoder direction
FLAGS = "--pairs 1 --seconds 0.1 --warmup 1 --samples 1 --sentences 3 --singles 2 --batch-tokens 200"
FLAGS += " --grammar-pairs 150 --vocab 400 --hidden 16 --threads 1 --data-pairs 200 400 --busy 0 1 --phase-sec 0.1"
FLAGS += " --sizes 400 800"


def random_ids(rows: int, longest: int, shortest: int = 1, seed: int = 1) -> list[list[int]]:
    numbers = random.Random(seed)
    return [[numbers.randrange(4, VOCAB) for _ in range(numbers.randint(shortest, longest))] for _ in range(rows)]


def random_batch() -> Batch:
    return make_batch(random_ids(7, longest=9), random_ids(7, longest=12, seed=2))


@pytest.fixture(autouse=True)
def _one_round_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "MIN_SEC", 0.0)


# --- the textbook network --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2, 3])
@torch.no_grad()
def test_the_textbook_network_computes_the_same_logits(layers: int) -> None:
    network = make_network(VOCAB, layers=layers).double().eval()
    logits, targets = textbook.copy_of(network)(random_batch())
    expected, expected_targets, _ = network(random_batch())
    assert torch.equal(targets, expected_targets)
    torch.testing.assert_close(logits, expected)


def test_a_textbook_update_equals_ours() -> None:
    torch.manual_seed(1)
    network = Seq2Seq(ModelConfig(12, 16, None, 8, 2, 2, dropout=NO_DROPOUT), VOCAB, VOCAB).double()
    copy, batch = textbook.copy_of(network), random_batch()
    textbook.train_step(copy, torch.optim.SGD(copy.parameters(), lr=0.1), batch, smoothing=0.1, max_norm=1e9)
    logits, targets, _ = network(batch)
    loss, _ = smoothed_cross_entropy(logits, targets, 0.1)
    (loss / batch.tgt_tokens).backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    expected = textbook.copy_of(network).state_dict()
    second_bias = "cells.0.bias_hh"  # a second bias of the gates, which our network lacks
    changed = copy.state_dict()
    expected[second_bias] = changed[second_bias]
    for name, value in changed.items():
        torch.testing.assert_close(value, expected[name], msg=name)
    assert changed[second_bias].abs().max() > 0


def test_textbook_greedy_search_equals_ours() -> None:
    network = make_network(VOCAB, layers=2).double().eval()
    network.output.bias.data[EOS_ID] = 2.0  # so that some outputs end before their limit
    decode = DecodeConfig(beam_size=1, max_length_ratio=1.5)
    sources = [SearchInput(ids, [], []) for ids in random_ids(12, longest=10)]
    with torch.inference_mode():
        expected = [best.tokens for best, *_ in search(Ensemble([network]), sources, decode)]
    limits = [source.max_length(decode) for source in sources]
    found = textbook.beam_search(textbook.copy_of(network), [source.ids for source in sources], limits, 1, 1.0)
    assert found == expected
    assert len({limit - len(ids) for ids, limit in zip(found, limits, strict=True)}) > 1


def test_a_larger_textbook_beam_finds_likelier_outputs() -> None:
    network = make_network(VOCAB, layers=2).double().eval()
    sources = random_ids(12, longest=10)
    means = []
    for beam_size in (1, 5):
        outputs = textbook.beam_search(textbook.copy_of(network), sources, [12] * 12, beam_size, 0.0)
        with torch.inference_mode():
            forced = Ensemble([network]).force_decode(sources, outputs, torch.device("cpu"))
        means.append(sum(sum(one.token_log_probs) for one in forced))
    assert means[1] > means[0]


def test_a_network_with_other_parts_cannot_be_copied() -> None:
    with pytest.raises(ValueError, match="additive"):
        textbook.copy_of(make_network(VOCAB, attention=AttentionName.none))


# --- minimal matrix products -----------------------------------------------------------------------------------------


def macs(products: list[gemm.Product]) -> Counter[str]:
    """Multiplications by name of the product, including its gradients."""
    counts: Counter[str] = Counter()
    for product in products:
        counts[product.name.partition(", gradient")[0]] += product.flops // 2
    return counts


def test_products_of_a_step_equal_a_count_by_hand() -> None:
    shape = gemm.BatchShape(rows=2, src_len=3, tgt_len=2, tgt_tokens=3)
    forward = {
        "encoder input, layer 1": 2 * 6 * 2 * 8,  # directions, positions, inputs, gates
        "encoder recurrence": 2 * 6 * 2 * 8,
        "keys": 6 * 4 * 3,
        "bridge": 2 * 4 * 8,
        "words": 4 * 2 * 16,
        "decoder recurrence, layer 1": 4 * (4 + 4) * 16,
        "query": 4 * 4 * 3,
        "energies": 4 * 3 * 3,  # target positions, source positions, units
        "context": 4 * 3 * 4,
        "readout": 4 * (2 + 4 + 4) * 2,
        "vocabulary": 3 * 2 * 5,
    }
    assert macs(gemm.training_products(TINY, 5, shape)) == {name: 3 * count for name, count in forward.items()}
    deeper = ModelConfig(2, 4, None, 3, 2, 2)
    extra_macs = macs(gemm.training_products(deeper, 5, shape)) - macs(gemm.training_products(TINY, 5, shape))
    assert extra_macs == {
        "encoder input, layers above": 3 * 2 * 6 * 4 * 8,
        "encoder recurrence": 3 * 2 * 6 * 2 * 8,
        "bridge": 3 * 2 * 4 * 8,
        "decoder input, layers above": 3 * 4 * (4 + 4) * 16,
        "decoder recurrence, layers above": 3 * 4 * 4 * 16,
    }


@pytest.mark.parametrize("layers", [1, 2])
def test_products_of_a_step_equal_the_count_of_torch(layers: int) -> None:
    rows, src_len, tgt_len = 5, 4, 3
    model = ModelConfig(6, 8, None, 3, layers, layers, dropout=NO_DROPOUT)
    batch = make_batch([[5] * (src_len - 1)] * rows, [[6] * (tgt_len - 1)] * rows)  # no padding
    network = textbook.Textbook(model, VOCAB)
    with FlopCounterMode(display=False) as counter:
        logits, targets = network(batch)
        torch.nn.functional.cross_entropy(logits, targets).backward()  # type: ignore[no-untyped-call]
    products = gemm.training_products(model, VOCAB, gemm.BatchShape(rows, src_len, tgt_len, rows * tgt_len))
    counted = [product for product in products if "encoder" not in product.name]  # torch cannot count inside nn.LSTM
    assert counter.get_total_flops() == sum(product.flops for product in counted)


def test_search_products_are_the_forward_products_of_live_hypotheses() -> None:
    training = gemm.training_products(TINY, 5, gemm.BatchShape(2, 3, 2, 4))
    forward = [product for product in training if "gradient" not in product.name]
    steps = [gemm.SearchStep(sentences=2, beam=1, src_len=3)] * 2
    assert macs(gemm.search_products(TINY, 5, 2, 3, steps)) == macs(forward)
    wider = [steps[0], gemm.SearchStep(sentences=1, beam=4, src_len=3)]
    extra_macs = macs(gemm.search_products(TINY, 5, 2, 3, wider)) - macs(forward)
    decoder = ("words", "decoder recurrence, layer 1", "query", "energies", "context", "readout", "vocabulary")
    # One of the two steps has four rows instead of two.
    assert extra_macs == {name: macs(forward)[name] // 2 for name in decoder}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_can_be_timed(dtype: torch.dtype) -> None:
    products = [gemm.Product("one", 2, 3, 4), *gemm.training_products(TINY, 5, gemm.BatchShape(2, 3, 2, 4))]
    assert gemm.measure(products[:1] * 2, dtype) == 2 * gemm.measure(products[:1], dtype) > 0
    assert gemm.measure(products, dtype) > 0


# --- report ----------------------------------------------------------------------------------------------------------


def test_a_ratio_covers_the_updates_of_both_systems() -> None:
    ours, textbooks = ([{"sec": sec} for sec in seconds] for seconds in ((1, 1, 8), (3, 2)))
    assert benchmark.step_ratio(ours, textbooks) == 2.5


def test_padding_and_loading_are_shares() -> None:
    step = {"rows": 2, "src_len": 6, "tgt_len": 4, "src_tokens": 10, "tgt_tokens": 5, "sec": 0.9, "load_sec": 0.1}
    assert benchmark.padding([step] * 3) == 0.25
    assert benchmark.loader_share({"steps": [step] * 3, "order_sec_a_step": 0.1}) == pytest.approx(0.2)


def test_the_table_has_a_row_per_figure_and_a_column_per_part() -> None:
    results = {"a": {"x": benchmark.spread([1234.56, 1, 2])}, "b": {"y": benchmark.spread([0.123456])}}
    assert benchmark.table(results)[2:] == ["| x | 2 (1–1,235) |  |", "| y |  | 0.123 (0.123–0.123) |"]


@pytest.mark.parametrize("present", [[], ["train.en.gz"], ["train.en.gz", "train.de.gz", "val.en.gz"]])
def test_a_folder_that_lacks_a_file_is_an_error(tmp_path: Path, present: list[str]) -> None:
    for name in present:
        (tmp_path / name).touch()
    missing = [name for name in ("train.en.gz", "train.de.gz", "val.en.gz", "val.de.gz") if name not in present]
    with pytest.raises(DataError) as caught:
        benchmark_work.corpus_folder(str(tmp_path))
    assert str(caught.value).startswith(f"--data {tmp_path}: {', '.join(missing)} missing")


def test_synthetic_text_is_asked_for_or_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert benchmark_work.corpus_folder("synthetic") is None
    assert capsys.readouterr().err == ""
    assert benchmark_work.corpus_folder("auto") is None
    assert capsys.readouterr().err.startswith("no Multi30k in data/multi30k: the text is synthetic")
    (tmp_path / "data" / "multi30k").mkdir(parents=True)
    for name in ("train.en.gz", "train.de.gz", "val.en.gz", "val.de.gz"):
        (tmp_path / "data" / "multi30k" / name).touch()
    assert benchmark_work.corpus_folder("auto") == Path("data/multi30k")
    assert capsys.readouterr().err == ""


def test_the_command_stops_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "benchmark.py"), "train", "--data", str(tmp_path / "absent")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: --data {tmp_path / 'absent'}: train.en.gz, ")


class InProcessRun(benchmark.Run):
    """Measures in this process."""

    def measure(self, name: str, **arguments: Any) -> dict[str, Any]:
        measured: dict[str, Any] = json.loads(json.dumps(benchmark.measure(name, self.settings, arguments)))
        return measured


KEYS = {
    "train": "tokens_per_sec sentences_per_sec share_gemm gemm_gflops peak_rss_mb padding loader_share ratio_textbook",
    "translate": "sentences_per_sec tokens_per_sec latency_p50_ms latency_p95_ms share_gemm peak_rss_mb",
    "data": "pairs_per_min peak_rss_mb growth_mb loader_share",
    "load": "auto_tokens_per_sec 1_thread_tokens_per_sec ratio_best_fixed",
    "prepare": "pairs_per_min parent_peak_mb with_workers_peak_mb training_peak_mb first_batch_sec",
}
PARTS = {
    "train": {"batch_200"},
    "translate": {"beam", "greedy"},
    "data": {"pairs_200", "pairs_400", "batch_200"},
    "load": {"0 busy", "1 busy"},
    "prepare": {"pairs_400", "pairs_800"},
}


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    cache = tmp_path_factory.mktemp("cache")
    return [*FLAGS.split(), "--cache", str(cache), "--data", "synthetic"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["translate", "data", "load", "prepare"])
def test_benchmarks_report_all_figures(name: str, flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")  # `configure` then does not change the allocator of this process
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    threads = torch.get_num_threads()
    try:
        assert_complete(getattr(benchmark, name)(InProcessRun(benchmark.parse([name, *flags]))), name)
    finally:
        torch.set_num_threads(threads)


def assert_complete(results: dict[str, Any], name: str) -> None:
    assert results.keys() == PARTS[name]
    figures = {key: figure for part in results.values() for key, figure in part.items()}
    assert set(KEYS[name].split()) <= figures.keys()
    for figure in figures.values():
        assert figure["min"] <= figure["median"] <= figure["max"]
    assert all(0 < figures[key]["median"] < 1.5 for key in figures if "share" in key)
    if name == "translate":
        assert "ratio_textbook_beam" in results["beam"]
        assert "ratio_textbook_latency" in results["beam"]


@pytest.mark.slow
def test_the_figures_of_a_device_are_complete_and_left_out_when_time_is_up(
    flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")  # as above
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    small = "--device cpu --presets small --precisions fp32 --rows 2 --device-vocab 60 --sentences 4 --singles 2"
    arguments = ["gpu", *flags, *small.split()]
    run = InProcessRun(benchmark.parse(arguments))
    results = benchmark.gpu(run)
    assert results.keys() == {"train_small_fp32_200", "translate_small_fp32_2"}
    figures = {key: figure["median"] for part in results.values() for key, figure in part.items()}
    names = "tgt_tokens_per_sec share_roofline beam_5_sentences_per_sec beam_5_share_roofline greedy_latency_ms"
    assert set(names.split()) <= figures.keys()
    assert all(0 < figure < 1 for key, figure in figures.items() if "share" in key)
    assert (run.work["device"], run.work["vocab"]) == ("cpu", 60)
    assert benchmark.gpu(InProcessRun(benchmark.parse([*arguments, "--limit-sec", "1e-9"]))) == {}


@pytest.mark.slow
def test_the_command_prints_one_json_object(flags: list[str]) -> None:
    command = [sys.executable, str(SCRIPTS / "benchmark.py"), "train", "--json", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["benchmark"] == "train"
    assert report["work"]["corpus"] == "synthetic grammar"
    assert report["work"]["threads"] == 1
    assert_complete(report["results"], "train")
    assert "textbook_share_gemm" in report["results"]["batch_200"]
