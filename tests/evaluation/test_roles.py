"""The roles in which a task has its texts embedded, and what is told of prompts and of texts that are cut."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tiny_bert import tiny_bert
from word_encoder import WORDS, draw_task, word_encoder

from hybridlib.data import load
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.evaluation.centred import language_means
from hybridlib.evaluation.evaluate import evaluate, evaluate_embeddings, measure, prompts_in_force
from hybridlib.evaluation.search import search
from hybridlib.study.inputs import Data, Test, tasks_of

TASK = draw_task(4, 17, 61)
ROLES = [("query", "document"), ("query", "query"), ("document", "query"), ("document", "document")]
PROMPTS = {"query": "ask: ", "document": "tell: "}


def encoder_of(**options):
    vectors = np.random.default_rng(4).standard_normal((len(WORDS) + 2, 5))
    return word_encoder(dict(zip([*WORDS, "ask:", "tell:"], vectors, strict=True)), prompts=PROMPTS, **options)


@pytest.mark.parametrize("roles", ROLES)
def test_texts_are_embedded_in_the_roles_of_the_task(roles):
    encoder, task = encoder_of(), replace(TASK, roles=roles)
    queries, passages = (
        encoder.encode([PROMPTS[role] + text for text in table.text], prompt="")
        for role, table in zip(roles, (task.queries, task.passages), strict=True)
    )
    expected = evaluate_embeddings(queries, passages, task)
    pd.testing.assert_frame_equal(evaluate(encoder, task, chunk_size=13), expected)
    found = search(encoder, task, k=61)
    first = 1 / found[found.relevant].groupby("query_id")["rank"].min()
    best = evaluate_embeddings(queries, passages, task, measures="rr@61")
    best = best[best.setting == "multilingual"].set_index("query_id").value
    assert first.to_dict() == pytest.approx(best.to_dict())
    assert task.with_pool(3).restrict(["de", "en"]).roles == roles


def test_the_roles_of_a_task_change_its_ranks():
    ranks = [measure(encoder_of(), replace(TASK, roles=roles)).in_pool.tolist() for roles in ROLES]
    assert all(one != other for place, one in enumerate(ranks) for other in ranks[:place])


@pytest.mark.parametrize("name", ["checkpoint", "embeddings"])
def test_a_folder_of_other_roles_is_refused(tmp_path, name):
    evaluate(encoder_of(), TASK, **{name: tmp_path})
    with pytest.raises(
        ValueError, match="passage_role is document there and query here; passage_prompt is tell:  there"
    ):
        evaluate(encoder_of(), replace(TASK, roles=("query", "query")), **{name: tmp_path})


def test_a_folder_knows_the_prompts_that_were_in_force(tmp_path):
    # The prompts of both encoders have the same names and texts; which is the default is all that differs.
    plain, default = (word_encoder(prompts={"query": "", "document": "", "other": "tell: "}) for _ in range(2))
    for encoder in (plain, default):
        del encoder.prompts["document"]
    default.default_prompt_name = "other"
    evaluate(plain, TASK, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="passage_prompt is None there and tell:  here"):
        evaluate(default, TASK, checkpoint=tmp_path)


@pytest.mark.parametrize("roles", ROLES)
def test_the_prompts_in_force_are_told_for_each_side(caplog, roles):
    task, expected = replace(TASK, roles=roles), {"queries": PROMPTS[roles[0]], "passages": PROMPTS[roles[1]]}
    assert prompts_in_force(encoder_of(), task) == expected
    with caplog.at_level(logging.INFO, logger="hybridlib.evaluation"):
        evaluate(encoder_of(), task)
    for side, prompt in expected.items():
        assert any(message.startswith(f"{side}: the prompt is {prompt!r}") for message in caplog.messages)
    assert prompts_in_force(word_encoder(), task) == {"queries": "", "passages": ""}


def test_a_warning_says_what_share_of_the_texts_is_cut(tmp_path, caplog):
    bert = tiny_bert(tmp_path)
    task = replace(TASK, passages=TASK.passages.assign(text=["a"] * 50 + ["a " * 20] * 11))
    said = ["passages: the prompt is ''; 18.0 % of the texts have more than 16 tokens and are cut"]  # 11 of 61
    for most, expected in ((16, said), (64, [])):
        bert.max_seq_length = most
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="hybridlib.evaluation"):
            evaluate(bert, task)
        assert caplog.messages == expected


def test_a_warning_tells_the_length_that_a_static_encoder_was_given(caplog):
    encoder = word_encoder()
    encoder[0].tokenizer.enable_truncation(3)  # as load_encoder does it
    with caplog.at_level(logging.INFO, logger="hybridlib.evaluation"):
        evaluate(encoder, replace(TASK, passages=TASK.passages.assign(text="a b c d")))
    assert "passages: the prompt is ''; 100.0 % of the texts have more than 3 tokens and are cut" in caplog.messages


def test_means_of_languages_are_made_in_the_roles_that_are_asked_for():
    frame = pd.DataFrame({"item": [1], "language": ["en"], "query": ["a"], "passage": ["b"]})
    corpus = ParallelCorpus.from_frame(frame.assign(passage_group=0, domain="d", dataset="s"), ["en"])
    encoder = encoder_of()
    for roles in ROLES:
        texts = [PROMPTS[role] + text for role, text in zip(roles, "ab", strict=True)]
        expected = encoder.encode(texts, prompt="").mean(axis=0)
        np.testing.assert_allclose(language_means(encoder, corpus, roles=roles)["en"], expected, rtol=1e-6)


def test_the_runs_of_the_study_go_on_with_two_prompts_on_tatoeba(monkeypatch):
    monkeypatch.setattr(load, "load_task", lambda name, *_, **options: replace(TASK, roles=("query", "query")))
    data = Data(corpus="atlas", data_seed=8)
    (task,) = tasks_of(Test(task="tatoeba", languages=("de",)), data)
    assert task.roles == ("query", "document")
