"""Streaming: results do not depend on chunks, processes, kills, nor on whether passages are in memory."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tiny_bert import tiny_bert
from tokenizers import Tokenizer, models, pre_tokenizers

import hybridlib.encoder.embed
import hybridlib.evaluation.checkpoint
import hybridlib.evaluation.streaming
from hybridlib.data.passages import rows_of
from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.evaluate import evaluate, evaluate_embeddings

pytestmark = pytest.mark.usefixtures("quickly")

WORDS = "a b c d e f g".split()  # noqa: SIM905 (one line)


def word_encoder(seed: int = 0, **options: Any) -> SentenceTransformer:
    """A text is the mean of random vectors of its words."""
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    weights = torch.randn(len(vocabulary), 5, generator=torch.Generator().manual_seed(seed))
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu", **options)


def draw_task(passages: int = 211, seed: int = 0) -> RetrievalTask:
    """Texts of one to three of seven words, so that many are equal; three languages, in no order."""
    rng = np.random.default_rng(seed)

    def texts(number: int) -> list[str]:
        return [" ".join(rng.choice(WORDS, rng.integers(1, 4))) for _ in range(number)]

    def table(name: str, number: int) -> pd.DataFrame:
        ids = [f"{name[0]}{i}" for i in range(number)]
        return pd.DataFrame({f"{name}_id": ids, "language": rng.choice(["de", "en", "sw"], number)}).assign(
            text=texts(number)
        )

    pairs = [(f"q{q}", f"p{p}") for q in range(29) for p in rng.choice(passages, rng.integers(1, 5), replace=False)]
    qrels = pd.DataFrame(pairs, columns=["query_id", "passage_id"]).assign(relevance=1)
    return RetrievalTask(table("query", 29), table("passage", passages), qrels)


def on_disk(task: RetrievalTask, folder: Path) -> RetrievalTask:
    """The same task, its passages memory-mapped."""
    assert isinstance(task.passages, pd.DataFrame)
    path = folder / "passages"
    if not path.exists():
        datasets.Dataset.from_pandas(task.passages).save_to_disk(path)
    return RetrievalTask(task.queries, datasets.load_from_disk(path), task.qrels)


def all_at_once(encoder: SentenceTransformer, task: RetrievalTask) -> pd.DataFrame:
    """The oracle: every passage embedded, in one piece."""
    passages = rows_of(task.passages, slice(None)).text.tolist()
    return evaluate_embeddings(
        encoder.encode_query(task.queries.text.tolist()), encoder.encode_document(passages), task
    )


class Stopped(Exception):
    """Raised in the middle of an evaluation."""


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Notes the texts of every call to encode passages; after some calls, the next one is stopped."""

    def watch(encoder: SentenceTransformer, calls: int | None = None) -> list[list[str]]:
        encode, noted = encoder.encode_document, []

        def note(texts: list[str], **options: Any) -> np.ndarray:
            if len(noted) == calls:
                raise Stopped
            noted.append(texts)
            return encode(texts, **options)

        monkeypatch.setattr(encoder, "encode_document", note)
        return noted

    monkeypatch.setattr(hybridlib.evaluation.checkpoint, "SECONDS", 0)
    return watch


@pytest.mark.parametrize("chunk_size", [1, 7, 105, 210, 211, 212])
@pytest.mark.parametrize("mapped", [False, True])
def test_results_do_not_depend_on_chunks(tmp_path: Path, chunk_size: int, mapped: bool) -> None:
    encoder, task = word_encoder(), draw_task()
    expected = all_at_once(encoder, task)
    task = on_disk(task, tmp_path) if mapped else task
    pd.testing.assert_frame_equal(evaluate(encoder, task, chunk_size=chunk_size), expected)


def test_a_chunk_is_all_that_is_encoded_at_a_time_and_no_relevant_text_is_encoded_twice(encoded: Callable) -> None:
    encoder, task = word_encoder(), draw_task()
    calls = encoded(encoder)
    evaluate(encoder, task, chunk_size=13)
    relevant = set(task.passages.text.to_numpy()[task.pairs[:, 1]])
    first, *chunks = calls
    assert set(first) == relevant and len(first) == len(relevant)
    assert not any(set(chunk) & relevant for chunk in chunks)
    assert all(len(chunk) == len(set(chunk)) <= 13 for chunk in chunks)
    assert {text for call in calls for text in call} == set(task.passages.text)


def test_texts_that_are_equal_are_tied_even_if_the_encoder_is_not_so_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = word_encoder()
    encode, rng = encoder.encode_document, np.random.default_rng(0)

    def noisy(texts: list[str], **options: Any) -> np.ndarray:
        made = encode(texts, **options)
        return made + 1e-4 * rng.standard_normal(made.shape)

    monkeypatch.setattr(encoder, "encode_document", noisy)
    # Ten equal passages, a chunk each; of equal scores the earlier is first, so the i-th is at rank i.
    passages = pd.DataFrame({"passage_id": range(10), "language": "en", "text": "a b"})
    queries = pd.DataFrame({"query_id": range(10), "language": "en", "text": "a"})
    qrels = pd.DataFrame({"query_id": range(10), "passage_id": range(10), "relevance": 1})
    results = evaluate(encoder, RetrievalTask(queries, passages, qrels), measures=["map"], chunk_size=1)
    assert results[results.setting == "monolingual"].value.tolist() == pytest.approx([1 / i for i in range(1, 11)])


def test_a_chunk_of_no_passage_is_refused() -> None:
    with pytest.raises(ValueError, match="chunk_size is 0; allowed: 1 or more"):
        evaluate(word_encoder(), draw_task(), chunk_size=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_tokens": 0}, "batch_tokens is 0; allowed: 1 or more"),
        ({"precision": "half"}, "precision is 'half'; allowed: float32, bfloat16"),
    ],
)
def test_wrong_options_of_the_embedding_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(word_encoder(), draw_task(), **options)


@pytest.mark.parametrize("chunk_size", [13, 211])
def test_results_of_a_transformer_do_not_depend_on_windows_batches_and_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_size: int
) -> None:
    encoder, task = tiny_bert(tmp_path), draw_task()
    expected = all_at_once(encoder, task)
    pd.testing.assert_frame_equal(evaluate(encoder, task, chunk_size=chunk_size, batch_tokens=30), expected)
    monkeypatch.setattr(hybridlib.encoder.embed, "_WINDOW", 20)
    monkeypatch.setattr(hybridlib.evaluation.streaming, "workers_for", lambda encoder, texts: 2)
    pd.testing.assert_frame_equal(evaluate(encoder, task, chunk_size=chunk_size), expected)


def test_progress_counts_passages_and_is_shown_where_it_is_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    for progress in (False, None):  # None: no terminal is here
        evaluate(word_encoder(), draw_task(), progress=progress, chunk_size=50)
        assert capfd.readouterr() == ("", "")
    evaluate(word_encoder(), draw_task(), progress=True, chunk_size=50)
    shown = capfd.readouterr().err
    assert "211/211" in shown and "passage/s" in shown


# Checkpoints.


@pytest.mark.parametrize("calls", [1, 2, 5])
def test_what_was_stopped_goes_on_at_the_chunk_it_was_in(
    tmp_path: Path, encoded: Callable, capfd: pytest.CaptureFixture[str], calls: int
) -> None:
    task, options = on_disk(draw_task(), tmp_path), {"chunk_size": 30, "checkpoint": tmp_path / "checkpoint"}
    stopped = word_encoder()
    encoded(stopped, calls)
    with pytest.raises(Stopped):
        evaluate(stopped, task, **options)
    encoder = word_encoder()
    again = encoded(encoder)
    results = evaluate(encoder, on_disk(draw_task(), tmp_path), progress=True, **options)
    pd.testing.assert_frame_equal(results, all_at_once(word_encoder(), task))
    # A call for the relevant texts and one for each of eight chunks, less those that were counted before.
    assert len(again) == 1 + 8 - (calls - 1)
    assert re.search(rf"\b{30 * (calls - 1)}(\.0+)?/211", capfd.readouterr().err)  # tqdm writes 0.00, 30.0 and 120


def test_of_a_finished_evaluation_counts_are_read_for_any_measure(tmp_path: Path, encoded: Callable) -> None:
    encoder, task = word_encoder(), draw_task()
    evaluate(encoder, task, measures=["map"], checkpoint=tmp_path)
    encoded(encoder, 0)
    results = evaluate(encoder, task, measures=["rr@10"], checkpoint=str(tmp_path))
    pd.testing.assert_frame_equal(results, evaluate(word_encoder(), task, measures=["rr@10"]))


def test_a_checkpoint_is_not_written_after_every_chunk_but_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(np, "savez", lambda path, **arrays: written.append(arrays["chunks"].tolist()) or path.touch())
    evaluate(word_encoder(), draw_task(), chunk_size=50, checkpoint=tmp_path / "ten seconds")
    assert written == [[0, 1, 2, 3, 4]]
    written.clear()
    monkeypatch.setattr(hybridlib.evaluation.checkpoint, "SECONDS", 0)
    evaluate(word_encoder(), draw_task(), chunk_size=100, checkpoint=tmp_path / "none")
    assert written == [[0], [0, 1], [0, 1, 2]]


TASK = draw_task()
OTHERS: dict[str, tuple[SentenceTransformer, RetrievalTask, int]] = {
    "encoder": (word_encoder(1), TASK, 50),
    "prompts": (word_encoder(prompts={"document": "a "}), TASK, 50),
    "similarity": (word_encoder(similarity_fn_name="dot"), TASK, 50),
    "truncate_dim": (word_encoder(truncate_dim=3), TASK, 50),
    "chunk_size": (word_encoder(), TASK, 51),
    "passages": (word_encoder(), RetrievalTask(TASK.queries, TASK.passages.iloc[::-1], TASK.qrels), 50),  # type: ignore[union-attr]
    "queries": (word_encoder(), RetrievalTask(TASK.queries.assign(text="a"), TASK.passages, TASK.qrels), 50),
    "qrels": (word_encoder(), RetrievalTask(TASK.queries, TASK.passages, TASK.qrels[1:]), 50),
}


@pytest.mark.parametrize("different", OTHERS)
def test_a_checkpoint_of_another_evaluation_is_refused_with_what_differs(tmp_path: Path, different: str) -> None:
    evaluate(word_encoder(), TASK, chunk_size=50, checkpoint=tmp_path)
    encoder, task, chunk_size = OTHERS[different]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=rf"was made from something else: {different} is [^;]+ there and [^;]+ here\. Na"):
        evaluate(encoder, task, chunk_size=chunk_size, checkpoint=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_checkpoint_and_embeddings_of_another_precision_are_refused(tmp_path: Path) -> None:
    bert = tiny_bert(tmp_path / "bert")
    for name in ("checkpoint", "embeddings"):
        evaluate(bert, TASK, precision="float32", **{name: tmp_path / name})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="precision is float32 there and bfloat16 here"):
            evaluate(bert, TASK, precision="bfloat16", **{name: tmp_path / name})  # type: ignore[arg-type]
        evaluate(bert, TASK, **{name: tmp_path / name})  # type: ignore[arg-type]  # on a CPU, the same


def test_a_dataset_of_other_rows_is_another_evaluation(tmp_path: Path) -> None:
    task = on_disk(draw_task(), tmp_path)
    evaluate(word_encoder(), task, checkpoint=tmp_path / "checkpoint")
    assert isinstance(task.passages, datasets.Dataset)
    turned = RetrievalTask(task.queries, task.passages.select(range(210, -1, -1)), task.qrels)
    with pytest.raises(ValueError, match=r"passages is \w+ \(211 rows\) there and \w+ \(211 rows\) here"):
        evaluate(word_encoder(), turned, checkpoint=tmp_path / "checkpoint")


def test_a_chunk_that_was_counted_twice_is_found(tmp_path: Path) -> None:
    evaluate(word_encoder(), TASK, chunk_size=50, checkpoint=tmp_path)
    shutil.copy(tmp_path / "counts-00000.npz", tmp_path / "counts-00007.npz")
    with pytest.raises(ValueError, match=r"counts-00007\.npz: chunk 0 is in another file of the folder, too"):
        evaluate(word_encoder(), TASK, chunk_size=50, checkpoint=tmp_path)


def test_a_file_of_counts_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    evaluate(word_encoder(), TASK, checkpoint=tmp_path)
    path = tmp_path / "counts-00000.npz"
    path.write_bytes(path.read_bytes()[:-99])
    with pytest.raises(ValueError, match=r"counts-00000\.npz cannot be read \(.+\); delete it to count its chunks"):
        evaluate(word_encoder(), TASK, checkpoint=tmp_path)
    path.unlink()
    pd.testing.assert_frame_equal(
        evaluate(word_encoder(), TASK, checkpoint=tmp_path), all_at_once(word_encoder(), TASK)
    )


# Embeddings.


def test_embeddings_that_were_kept_serve_other_queries(tmp_path: Path, encoded: Callable) -> None:
    options = {"chunk_size": 100, "embeddings": tmp_path}
    evaluate(word_encoder(), TASK, **options)
    kept = np.concatenate([np.load(tmp_path / f"chunk-{chunk:06}.npy") for chunk in range(3)])
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept, word_encoder().encode_document(TASK.passages["text"].tolist()))
    other = RetrievalTask(TASK.queries.assign(text=TASK.queries.text.iloc[::-1].tolist()), TASK.passages, TASK.qrels)
    encoder = word_encoder()
    calls = encoded(encoder)
    results = evaluate(encoder, other, **options)
    assert len(calls) == 1  # of the relevant texts
    pd.testing.assert_frame_equal(results, all_at_once(word_encoder(), other))


def test_embeddings_of_other_passages_or_of_another_shape_are_refused(tmp_path: Path) -> None:
    evaluate(word_encoder(), TASK, embeddings=tmp_path)
    with pytest.raises(ValueError, match="was made from something else: encoder is"):
        evaluate(word_encoder(1), TASK, embeddings=tmp_path)
    np.save(tmp_path / "chunk-000000.npy", np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"chunk-000000\.npy has shape \(2, 5\); expected \(211, 5\)\. Delete it to"):
        evaluate(word_encoder(), TASK, embeddings=tmp_path)


def test_checkpoint_and_embeddings_may_share_a_folder(tmp_path: Path) -> None:
    evaluate(word_encoder(), TASK, checkpoint=tmp_path, embeddings=tmp_path)
    said = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("evaluation", "embeddings")}
    assert set(said["evaluation"]) - set(said["embeddings"]) == {"similarity", "queries", "qrels"}


# Processes.


def launch(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run this file in two processes."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run(
        [*torchrun, __file__, str(folder), *arguments],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation by two processes that were killed in the middle, and gone on by two others."""
    folder = tmp_path_factory.mktemp("processes")
    on_disk(draw_task(), folder)
    assert launch(folder, "kill").returncode != 0
    shutil.copytree(folder / "checkpoint", folder / "checkpoint of the dead")
    done = launch(folder)
    assert done.returncode == 0, done.stderr[-5000:]
    (folder / "stderr").write_text(done.stderr)
    return folder


def test_two_processes_give_the_results_of_one_on_each_and_so_do_those_that_go_on_after_a_kill(
    killed: Path, tmp_path: Path
) -> None:
    expected = evaluate(tiny_bert(tmp_path), on_disk(draw_task(), killed), chunk_size=20)
    expected.to_parquet(tmp_path / "expected.parquet")
    for name in ("resumed", "whole"):
        for rank in range(2):
            assert (killed / f"{name}-{rank}.parquet").read_bytes() == (tmp_path / "expected.parquet").read_bytes()


def test_one_process_goes_on_where_two_were_killed(killed: Path, tmp_path: Path) -> None:
    parts = {path.name: np.load(path)["chunks"].tolist() for path in sorted(killed.glob("*dead/counts-*.npz"))}
    assert parts["counts-00000.npz"] == [0, 2]  # the first of two processes was killed in its third chunk, 4
    counted = sum(len(chunks) for chunks in parts.values())
    encoder, calls = tiny_bert(tmp_path / "bert"), []
    encoder.register_forward_pre_hook(lambda module, given, named: calls.append(named["task"]), with_kwargs=True)
    checkpoint = shutil.copytree(killed / "checkpoint of the dead", tmp_path / "checkpoint")
    results = evaluate(encoder, on_disk(draw_task(), killed), chunk_size=20, checkpoint=checkpoint)
    assert calls.count("document") == 1 + 11 - counted  # 211 passages are 11 chunks
    results.to_parquet(tmp_path / "results.parquet")
    assert (tmp_path / "results.parquet").read_bytes() == (killed / "resumed-0.parquet").read_bytes()


def test_processes_that_go_on_share_what_is_left_and_only_the_first_shows_progress(killed: Path) -> None:
    parts = [np.load(path)["chunks"].tolist() for path in sorted((killed / "checkpoint").glob("counts-*.npz"))]
    assert sorted(chunk for part in parts for chunk in part) == list(range(11))
    fresh = parts[len(list((killed / "checkpoint of the dead").glob("counts-*.npz"))) :]
    assert len(fresh) == 2 and abs(len(fresh[0]) - len(fresh[1])) <= 1
    # The second evaluation ended with the first process's chunks 0, 2, 4, 6, 8 and 10, which is of 11 passages:
    # 111. The other process had five chunks of 20 passages.
    ends = re.findall(r"evaluate: 100%\|[^|]*\| (\d+)/\1 ", (killed / "stderr").read_text())
    assert ends[-1] == "111" and "100" not in ends


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, folder = int(os.environ["RANK"]), Path(sys.argv[1])
    hybridlib.evaluation.checkpoint.SECONDS = 0
    bert, task = tiny_bert(folder / f"bert-{rank}"), on_disk(draw_task(), folder)
    calls: list[str] = []

    def killing(module: SentenceTransformer, given: tuple, named: dict[str, Any]) -> None:
        calls.append(named["task"])
        # Of relevant texts, and in chunks 0, 2 and 4, each of which is a batch.
        if sys.argv[2:] == ["kill"] and rank == 0 and calls.count("document") == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    bert.register_forward_pre_hook(killing, with_kwargs=True)
    shared = {"chunk_size": 20, "progress": True}
    evaluate(bert, task, **shared, checkpoint=folder / "checkpoint").to_parquet(folder / f"resumed-{rank}.parquet")
    evaluate(bert, task, **shared).to_parquet(folder / f"whole-{rank}.parquet")
