"""Streaming: results do not depend on chunks, processes, kills, nor on whether passages are in memory."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_bert import tiny_bert
from word_encoder import WORDS, draw_task, word_encoder

import hybridlib.encoder.embed
import hybridlib.evaluation.checkpoint
import hybridlib.evaluation.streaming
from hybridlib.data.passages import rows_of
from hybridlib.data.task import RetrievalTask
from hybridlib.encoder.embed import embed_texts
from hybridlib.evaluation.evaluate import evaluate, evaluate_embeddings

pytestmark = pytest.mark.usefixtures("quickly")

TASK = draw_task()


def random_encoder(seed=0, **options):
    """Make an encoder of random vectors, whose embeddings do not depend on the batch by a single bit."""
    vectors = np.random.default_rng(seed).standard_normal((len(WORDS), 5))
    return word_encoder(dict(zip(WORDS, vectors, strict=True)), **options)


def on_disk(folder):
    """Return the task with its passages memory-mapped."""
    path = folder / "passages"
    if not path.exists():
        datasets.Dataset.from_pandas(TASK.passages).save_to_disk(path)
    return RetrievalTask(TASK.queries, datasets.load_from_disk(path), TASK.qrels)


def all_at_once(encoder, task=TASK):
    """Evaluate all passages embedded in one piece: the oracle."""
    passages = rows_of(task.passages, slice(None)).text.tolist()
    queries = encoder.encode_query(task.queries.text.tolist())
    return evaluate_embeddings(queries, encoder.encode_document(passages), task)


class Stopped(Exception):
    """Raised in the middle of an evaluation."""


@pytest.fixture
def encoded(monkeypatch):
    """A function that notes the texts of every call to encode passages; after some calls, the next one is stopped."""

    def watch(encoder, calls=None):
        encode, noted = encoder.encode_document, []

        def note(texts, **options):
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
def test_results_do_not_depend_on_chunks(tmp_path, chunk_size, mapped):
    task = on_disk(tmp_path) if mapped else TASK
    results = evaluate(random_encoder(), task, chunk_size=chunk_size)
    pd.testing.assert_frame_equal(results, all_at_once(random_encoder()))


def test_a_chunk_is_all_that_is_encoded_at_a_time_and_no_relevant_text_is_encoded_twice(encoded):
    encoder = random_encoder()
    calls = encoded(encoder)
    evaluate(encoder, TASK, chunk_size=13)
    relevant = set(TASK.passages.text.to_numpy()[TASK.pairs[:, 1]])
    first, *chunks = calls
    assert set(first) == relevant and len(first) == len(relevant)
    assert not any(set(chunk) & relevant for chunk in chunks)
    assert all(len(chunk) == len(set(chunk)) <= 13 for chunk in chunks)
    assert {text for call in calls for text in call} == set(TASK.passages.text)


def test_texts_that_are_equal_are_tied_even_if_the_encoder_is_not_so_exact(monkeypatch):
    encoder, rng = random_encoder(), np.random.default_rng(0)
    encode = encoder.encode_document

    def noisy(texts, **options):
        return encode(texts, **options) + 1e-4 * rng.standard_normal((len(texts), 5))

    monkeypatch.setattr(encoder, "encode_document", noisy)
    # Ten equal passages, a chunk each; of equal scores the earlier is first, so the i-th is at rank i.
    passages = pd.DataFrame({"passage_id": range(10), "language": "en", "text": "a b"})
    queries = pd.DataFrame({"query_id": range(10), "language": "en", "text": "a"})
    qrels = pd.DataFrame({"query_id": range(10), "passage_id": range(10), "relevance": 1})
    results = evaluate(encoder, RetrievalTask(queries, passages, qrels), measures=["map"], chunk_size=1)
    assert results[results.setting == "monolingual"].value.tolist() == pytest.approx([1 / i for i in range(1, 11)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_size": 0}, "chunk_size is 0; allowed: greater than or equal to 1"),
        ({"batch_tokens": 0}, "batch_tokens is 0; allowed: greater than or equal to 1"),
        ({"precision": "half"}, "precision is 'half'; allowed: 'float32' or 'bfloat16'"),
    ],
)
def test_an_option_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(random_encoder(), TASK, **options)


@pytest.mark.parametrize("chunk_size", [13, 211])
@pytest.mark.parametrize(("batch_tokens", "window"), [(30, 4096), (None, 20)])
def test_ranks_of_a_transformer_are_exactly_those_of_its_embeddings_which_depend_on_batches_by_rounding_alone(
    tmp_path, monkeypatch, chunk_size, batch_tokens, window
):
    encoder, asked = tiny_bert(tmp_path / "bert"), TASK.queries.text.tolist()
    monkeypatch.setattr(hybridlib.encoder.embed, "_WINDOW", window)
    results = evaluate(encoder, TASK, chunk_size=chunk_size, batch_tokens=batch_tokens, embeddings=tmp_path / "kept")
    kept = np.concatenate([np.load(path)["rows"] for path in sorted((tmp_path / "kept").glob("*.npz"))])
    queries = embed_texts(encoder, asked, role="query", batch_tokens=batch_tokens)
    pd.testing.assert_frame_equal(results, evaluate_embeddings(queries, kept, TASK))
    # Numbers of the size of 1, after sums of 32 terms or fewer in float32, a dozen of them on one another.
    np.testing.assert_allclose(kept, encoder.encode_document(TASK.passages.text.tolist()), rtol=0, atol=1e-5)
    np.testing.assert_allclose(queries, encoder.encode_query(asked), rtol=0, atol=1e-5)


def test_progress_counts_passages_and_is_shown_where_it_is_asked_for(capfd):
    for progress in (False, None):  # None: no terminal is here
        evaluate(random_encoder(), TASK, progress=progress, chunk_size=50)
        assert capfd.readouterr() == ("", "")
    evaluate(random_encoder(), TASK, progress=True, chunk_size=50)
    shown = capfd.readouterr().err
    assert "211/211" in shown and "passage/s" in shown


# Checkpoints.


@pytest.mark.parametrize("calls", [1, 2, 5])
def test_what_was_stopped_goes_on_at_the_chunk_it_was_in(tmp_path, encoded, capfd, calls):
    options = {"chunk_size": 33, "checkpoint": tmp_path / "checkpoint"}
    stopped, encoder = random_encoder(), random_encoder()
    encoded(stopped, calls)
    with pytest.raises(Stopped):
        evaluate(stopped, on_disk(tmp_path), **options)
    again = encoded(encoder)
    results = evaluate(encoder, on_disk(tmp_path), progress=True, **options)
    pd.testing.assert_frame_equal(results, all_at_once(random_encoder()))
    # A call for the relevant texts and one for each of seven chunks, less those that were counted before.
    assert len(again) == 1 + 7 - (calls - 1)
    assert re.search(rf"\b{33 * (calls - 1)}(\.0+)?/211", capfd.readouterr().err)  # tqdm writes 0.00, 33.0 and 132


def test_the_counts_of_a_finished_evaluation_are_read_for_any_measure(tmp_path, encoded):
    encoder = random_encoder()
    evaluate(encoder, TASK, measures=["map"], checkpoint=tmp_path)
    encoded(encoder, 0)
    results = evaluate(encoder, TASK, measures=["rr@10"], checkpoint=str(tmp_path))
    pd.testing.assert_frame_equal(results, evaluate(random_encoder(), TASK, measures=["rr@10"]))


def test_a_checkpoint_is_not_written_after_every_chunk_but_at_the_end(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(np, "savez", lambda path, **arrays: written.append(arrays["chunks"].tolist()) or path.touch())
    evaluate(random_encoder(), TASK, chunk_size=50, checkpoint=tmp_path / "ten seconds")
    assert written == [[0, 1, 2, 3, 4]]
    written.clear()
    monkeypatch.setattr(hybridlib.evaluation.checkpoint, "SECONDS", 0)
    evaluate(random_encoder(), TASK, chunk_size=100, checkpoint=tmp_path / "none")
    assert written == [[0], [0, 1], [0, 1, 2]]


OTHERS = {
    "encoder": {"encoder": random_encoder(1)},
    "passage_prompt": {"encoder": random_encoder(prompts={"document": "a "})},
    "query_prompt": {"encoder": random_encoder(prompts={"query": "a "})},
    "similarity": {"encoder": random_encoder(similarity_fn_name="dot")},
    "truncate_dim": {"encoder": random_encoder(truncate_dim=3)},
    "chunk_size": {"chunk_size": 51},
    "passages": {"task": RetrievalTask(TASK.queries, TASK.passages.iloc[::-1], TASK.qrels)},
    "queries": {"task": RetrievalTask(TASK.queries.assign(text="a"), TASK.passages, TASK.qrels)},
    "qrels": {"task": RetrievalTask(TASK.queries, TASK.passages, TASK.qrels[1:])},
}


@pytest.mark.parametrize("different", OTHERS)
def test_a_checkpoint_of_another_evaluation_is_refused_with_what_differs(tmp_path, different):
    given = {"encoder": random_encoder(), "task": TASK, "chunk_size": 50, "checkpoint": tmp_path}
    evaluate(**given)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    message = rf"was made from something else: ([^;]+; )*{different} is ([^;]+ there and [^;]+ here|another)[.;]"
    with pytest.raises(ValueError, match=message):
        evaluate(**given | OTHERS[different])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["checkpoint", "embeddings"])
def test_a_checkpoint_and_embeddings_of_another_precision_are_refused(tmp_path, name):
    bert, folder = tiny_bert(tmp_path / "bert"), {name: tmp_path / name}
    evaluate(bert, TASK, precision="float32", **folder)
    with pytest.raises(ValueError, match="precision is float32 there and bfloat16 here"):
        evaluate(bert, TASK, precision="bfloat16", **folder)
    evaluate(bert, TASK, **folder)  # on a CPU, the same


def test_a_dataset_of_other_rows_is_another_evaluation(tmp_path):
    task = on_disk(tmp_path)
    evaluate(random_encoder(), task, checkpoint=tmp_path / "checkpoint")
    turned = RetrievalTask(task.queries, task.passages.select(range(210, -1, -1)), task.qrels)
    with pytest.raises(ValueError, match=r"passages is another\. Name another"):
        evaluate(random_encoder(), turned, checkpoint=tmp_path / "checkpoint")


def test_a_chunk_that_was_counted_twice_is_found(tmp_path):
    evaluate(random_encoder(), TASK, chunk_size=50, checkpoint=tmp_path)
    shutil.copy(tmp_path / "counts-00000.npz", tmp_path / "counts-00007.npz")
    with pytest.raises(ValueError, match=r"counts-00007\.npz: chunk 0 is in another file of the folder, too"):
        evaluate(random_encoder(), TASK, chunk_size=50, checkpoint=tmp_path)


def damage(path, how):
    """Cut a file, empty it, put something else there, or a folder."""
    content = path.read_bytes()
    path.unlink()
    if how == "folder":
        path.mkdir()
    else:
        path.write_bytes({"cut": content[:-99], "empty": b"", "text": b"null", "other": content[:99] + b"0"}[how])


@pytest.mark.parametrize("how", ["cut", "empty", "text", "other", "folder"])
@pytest.mark.parametrize(
    ("name", "remedy"), [("counts-00000.npz", "count its chunks again"), ("chunk-000000.npz", "make it again")]
)
def test_a_damaged_file_of_a_folder_is_named_with_what_to_do(tmp_path, name, remedy, how):
    folders = {"checkpoint" if name.startswith("counts") else "embeddings": tmp_path}
    evaluate(random_encoder(), TASK, **folders)
    damage(tmp_path / name, how)
    with pytest.raises(ValueError, match=rf"{name} cannot be read \(.+\); delete it to {remedy}") as raised:
        evaluate(random_encoder(), TASK, **folders)
    assert len(str(raised.value)) < 500
    shutil.rmtree(tmp_path / name) if how == "folder" else (tmp_path / name).unlink()
    pd.testing.assert_frame_equal(evaluate(random_encoder(), TASK, **folders), all_at_once(random_encoder()))


@pytest.mark.parametrize("how", ["cut", "empty", "text", "folder"])
@pytest.mark.parametrize("name", ["checkpoint", "embeddings"])
def test_a_damaged_record_of_a_folder_is_named_with_what_to_do(tmp_path, name, how):
    evaluate(random_encoder(), TASK, **{name: tmp_path})
    record = next(tmp_path.glob("*.json"))
    damage(record, how)
    with pytest.raises(ValueError, match=rf"{record.name} .*\. Delete the folder to make it anew") as raised:
        evaluate(random_encoder(), TASK, **{name: tmp_path})
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"chunks": [7]}, "it names chunk 7; there are 1"),
        ({"chunks": [-1]}, "it names chunk -1; there are 1"),
        ({"chunks": [0.0]}, "it holds counts of shape"),
        ({"above": np.zeros((1, 3), dtype=np.int64)}, r"it holds counts of shape \(1, 3\); expected"),
    ],
)
def test_counts_that_do_not_fit_are_refused(tmp_path, arrays, message):
    evaluate(random_encoder(), TASK, checkpoint=tmp_path)
    path = tmp_path / "counts-00000.npz"
    np.savez(path, **dict(np.load(path)) | {name: np.array(values) for name, values in arrays.items()})
    with pytest.raises(ValueError, match=rf"counts-00000\.npz cannot be read \({message}"):
        evaluate(random_encoder(), TASK, checkpoint=tmp_path)


@pytest.mark.parametrize("name", ["checkpoint", "embeddings"])
def test_a_folder_whose_record_is_lost_is_refused(tmp_path, name):
    evaluate(random_encoder(), TASK, **{name: tmp_path})
    next(tmp_path.glob("*.json")).unlink()
    with pytest.raises(ValueError, match=r"holds '\S+' but no \w+\.json, which would say what it was made from\. Name"):
        evaluate(random_encoder(1), TASK, **{name: tmp_path})


@pytest.mark.parametrize("name", ["checkpoint", "embeddings"])
def test_a_folder_of_other_files_is_refused_and_stays_as_it_is(tmp_path, name):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=rf"^{tmp_path} holds 'model.safetensors' but no \w+\.json"):
        evaluate(random_encoder(), TASK, **{name: tmp_path})
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_folder_may_keep_both_embeddings_and_counts(tmp_path):
    expected = evaluate(random_encoder(), TASK, embeddings=tmp_path)
    found = evaluate(random_encoder(), TASK, embeddings=tmp_path, checkpoint=tmp_path)
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("name", ["checkpoint", "embeddings"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "{name} is ''; allowed: the path"),
        (3, "{name} is 3; allowed: the path"),
        (__file__, "{name} is .*, but .* is a file; allowed: the path of a folder"),
        (f"{__file__}/x/y", "{name} is .*/x/y, but .*py is a file; allowed: the path of a folder"),
    ],
)
def test_what_is_no_folder_is_refused_before_anything_is_encoded(monkeypatch, name, value, message):
    monkeypatch.setattr(hybridlib.evaluation.streaming, "embed_chunks", None)
    with pytest.raises(ValueError, match=message.format(name=name)):
        evaluate(random_encoder(), TASK, **{name: value})


def test_other_files_in_a_folder_of_counts_are_left_alone(tmp_path):
    (tmp_path / "counts-of-mine.npz").write_text("3")
    expected = all_at_once(random_encoder())
    with pytest.raises(ValueError, match=r"but no evaluation\.json"):
        evaluate(random_encoder(), TASK, checkpoint=tmp_path)
    (tmp_path / "counts-of-mine.npz").unlink()
    evaluate(random_encoder(), TASK, checkpoint=tmp_path)
    (tmp_path / "counts-of-mine.npz").write_text("3")
    pd.testing.assert_frame_equal(evaluate(random_encoder(), TASK, checkpoint=tmp_path), expected)


@pytest.mark.parametrize("name", ["checkpoint", "embeddings"])
def test_passages_of_other_content_are_other_passages_although_their_fingerprint_is_the_same(tmp_path, name):
    task, folder = on_disk(tmp_path), {name: tmp_path / name}
    evaluate(random_encoder(), task, **folder)
    print_of = task.passages._fingerprint
    changed = TASK.passages.assign(text=["g", *TASK.passages.text[1:]])
    datasets.Dataset.from_pandas(changed).save_to_disk(tmp_path / "changed")
    other = datasets.load_from_disk(tmp_path / "changed")
    other._fingerprint = print_of
    with pytest.raises(ValueError, match="passages is another"):
        evaluate(random_encoder(), RetrievalTask(TASK.queries, other, TASK.qrels), **folder)
    # The same content is the same evaluation, however it was made.
    evaluate(random_encoder(), TASK, **folder)


# Embeddings.


def test_embeddings_that_were_kept_serve_other_queries(tmp_path, encoded):
    options = {"chunk_size": 100, "embeddings": tmp_path}
    evaluate(random_encoder(), TASK, **options)
    kept = np.concatenate([np.load(tmp_path / f"chunk-{chunk:06}.npz")["rows"] for chunk in range(3)])
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept, random_encoder().encode_document(TASK.passages.text.tolist()))
    other = RetrievalTask(TASK.queries.assign(text=TASK.queries.text.iloc[::-1].tolist()), TASK.passages, TASK.qrels)
    encoder = random_encoder()
    calls = encoded(encoder)
    results = evaluate(encoder, other, **options)
    assert len(calls) == 1  # of the relevant texts
    pd.testing.assert_frame_equal(results, all_at_once(random_encoder(), other))
    asking = random_encoder(prompts={"query": "a "})  # which is another query, and the same passage
    pd.testing.assert_frame_equal(evaluate(asking, TASK, **options), all_at_once(asking))


def test_a_flipped_bit_in_embeddings_and_files_whose_names_were_swapped_are_found(tmp_path):
    options = {"chunk_size": 70, "embeddings": tmp_path}  # the last of four has 1 passage
    evaluate(random_encoder(), TASK, **options)
    paths = sorted(tmp_path.glob("*.npz"))
    contents = [path.read_bytes() for path in paths]
    rows = np.load(paths[1])["rows"].tobytes()
    place = contents[1].index(rows) + len(rows) // 2
    paths[1].write_bytes(contents[1][:place] + bytes([contents[1][place] ^ 1]) + contents[1][place + 1 :])
    with pytest.raises(ValueError, match=r"chunk-000001\.npz cannot be read \(Bad CRC-32 .*\); delete it to make"):
        evaluate(random_encoder(), TASK, **options)
    for path, content in zip(paths[:2], contents[1::-1], strict=True):
        path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"chunk-000000\.npz cannot be read \(it holds chunk 1; expected 0\); delete it"
    ):
        evaluate(random_encoder(), TASK, **options)


def test_embeddings_of_other_passages_or_of_another_shape_are_refused(tmp_path):
    evaluate(random_encoder(), TASK, embeddings=tmp_path)
    with pytest.raises(ValueError, match="was made from something else: encoder is"):
        evaluate(random_encoder(1), TASK, embeddings=tmp_path)
    rows = np.load(tmp_path / "chunk-000000.npz")["rows"]
    rows[3, 2] = np.nan
    np.savez(tmp_path / "chunk-000000.npz", chunk=0, rows=rows)
    with pytest.raises(
        ValueError, match=r"npz cannot be read \(it holds a number that is not finite\); delete it to make"
    ):
        evaluate(random_encoder(), TASK, embeddings=tmp_path)
    np.savez(tmp_path / "chunk-000000.npz", chunk=0, rows=np.ones((2, 5)))
    with pytest.raises(
        ValueError,
        match=r"chunk-000000\.npz cannot be read \(.+ of shape \(2, 5\); expected float32 of shape \(211, 5\)\); d",
    ):
        evaluate(random_encoder(), TASK, embeddings=tmp_path)


def test_checkpoint_and_embeddings_may_share_a_folder(tmp_path):
    evaluate(random_encoder(), TASK, checkpoint=tmp_path, embeddings=tmp_path)
    said = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("evaluation", "embeddings")}
    assert set(said["evaluation"]) - set(said["embeddings"]) == {
        *("similarity", "queries", "qrels", "query_role", "query_prompt", "ignore_identical_ids", "means")
    }


# Processes.


def launch(folder, *arguments):
    """Run this file in two processes."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*torchrun, __file__, str(folder), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder of an evaluation by two processes that were killed in the middle, and gone on by two others."""
    folder = tmp_path_factory.mktemp("processes")
    on_disk(folder)
    assert launch(folder, "kill").returncode != 0
    shutil.copytree(folder / "checkpoint", folder / "checkpoint of the dead")
    done = launch(folder)
    assert done.returncode == 0, done.stderr[-5000:]
    (folder / "stderr").write_text(done.stderr)
    return folder


def test_two_processes_give_the_results_of_one_on_each_and_so_do_those_that_go_on_after_a_kill(killed, tmp_path):
    expected = evaluate(tiny_bert(tmp_path), on_disk(killed), chunk_size=20)
    expected.to_parquet(tmp_path / "expected.parquet")
    for path in [killed / f"{name}-{rank}.parquet" for name in ("resumed", "whole") for rank in range(2)]:
        assert path.read_bytes() == (tmp_path / "expected.parquet").read_bytes()


def test_one_process_goes_on_where_two_were_killed(killed, tmp_path):
    parts = {path.name: np.load(path)["chunks"].tolist() for path in sorted(killed.glob("*dead/counts-*.npz"))}
    assert parts["counts-00000.npz"] == [0, 2]  # the first of two processes was killed in its third chunk, 4
    counted = sum(len(chunks) for chunks in parts.values())
    encoder, calls = tiny_bert(tmp_path / "bert"), []
    encoder.register_forward_pre_hook(lambda module, given, named: calls.append(named["task"]), with_kwargs=True)
    checkpoint = shutil.copytree(killed / "checkpoint of the dead", tmp_path / "checkpoint")
    results = evaluate(encoder, on_disk(killed), chunk_size=20, checkpoint=checkpoint)
    assert calls.count("document") == 1 + 11 - counted  # 211 passages are 11 chunks
    results.to_parquet(tmp_path / "results.parquet")
    assert (tmp_path / "results.parquet").read_bytes() == (killed / "resumed-0.parquet").read_bytes()


def test_processes_that_go_on_share_what_is_left_and_only_the_first_shows_progress(killed):
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
    bert, task, calls = tiny_bert(folder / f"bert-{rank}"), on_disk(folder), []

    def killing(module, given, named):
        calls.append(named["task"])
        # The calls are for the relevant texts, and for chunks 0, 2 and 4, each of which is a batch.
        if sys.argv[2:] == ["kill"] and rank == 0 and calls.count("document") == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    bert.register_forward_pre_hook(killing, with_kwargs=True)
    shared = {"chunk_size": 20, "progress": True}
    evaluate(bert, task, **shared, checkpoint=folder / "checkpoint").to_parquet(folder / f"resumed-{rank}.parquet")
    evaluate(bert, task, **shared).to_parquet(folder / f"whole-{rank}.parquet")
