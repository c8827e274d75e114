"""Tests of hard negatives: the right passage is chosen, a wrong one never, and every row has one."""

import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer
from test_corpus import COLUMNS, full, rows_of
from tiny_bert import tiny_bert

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.load import load_corpus
from hybridlib.training.negatives import mine_negatives
from hybridlib.training.starts import load_encoder

pytestmark = pytest.mark.usefixtures("quickly")


class Angles(torch.nn.Module):
    """A module that puts each text at an angle, in degrees."""

    def __init__(self, degrees: dict[str, float]) -> None:
        super().__init__()
        self.degrees = degrees

    def get_embedding_dimension(self) -> int:
        return 2

    def preprocess(self, texts: list[str], **options: object) -> dict[str, torch.Tensor]:
        return {"angles": torch.tensor([self.degrees[text] for text in texts]).deg2rad()}

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        angles = features["angles"]
        return {"sentence_embedding": torch.stack([angles.cos(), angles.sin()], dim=1)}  # (B, 2)


def placed(**degrees: float) -> SentenceTransformer:
    return SentenceTransformer(modules=[Angles({"a": 0.0, **degrees})], device="cpu")  # "a" is a probe of the library's


# A question is at 0 degrees and its passage at 40, with cosine 0.766. The margin of 5 % ends at 0.728, 43.3 degrees.
# So passage 1 (42 degrees) is too near to be trusted, and 2 (50), 3 (60) and 4 (70) are the hardest, in this order.
ANGLES = {"p0en": 40, "p1en": 42, "p2en": 50, "p3en": 60, "p4en": 70, **{f"q{i}en": 0 for i in range(5)}}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    encoder = tiny_bert(tmp_path_factory.mktemp("bert"))
    encoder.prompts = {"query": "ask: ", "document": "tell: "}
    return encoder


def gappy() -> ParallelCorpus:
    """Make 23 items, three to a group, in two languages; the second lacks every fifth item."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh "), rng.integers(1, 15))) for _ in range(23)]
    rows = [(i, code) for i in range(23) for code in ("en", "sw") if code == "en" or i % 5]
    frame = rows_of(*rows, passage_group=[i // 3 for i, _ in rows])
    frame["query"] = [f"where is {words[i]}{' jee' * (code == 'sw')}" for i, code in rows]
    frame["passage"] = [f"{words[i][::-1]} {i * i}{' ndiyo' * (code == 'sw')}" for i, code in rows]
    return ParallelCorpus.from_frame(frame, ["en", "sw"])


# --- the rules


SAME_WORDS = ["q0en", "q1en", "q0en", "q3en", "q4en"]
# Each rule has columns of the corpus, options, and the passage that is the negative of question 0.
RULES = {
    "the nearest below the margin": ({}, {}, 2),
    "without a margin, the nearest that is not nearer than its own": ({}, {"relative_margin": 0.0}, 1),
    "one is skipped": ({}, {"range_min": 1}, 3),
    "two are skipped": ({}, {"range_min": 2}, 4),
    "none of its group": ({"passage_group": [7, 8, 7, 9, 6]}, {}, 3),
    "its group does not count as skipped": ({"passage_group": [7, 8, 7, 9, 6]}, {"range_min": 1}, 4),
    # Passage 4 is at 70 degrees: its margin would leave nothing but what is beyond 71 degrees.
    "the margin is that of its own passage, not of its group": ({"passage_group": [7, 8, 6, 9, 7]}, {}, 2),
    "no text that is equal to one of its group": (
        {"passage_group": [7, 8, 7, 9, 6], "passage": ["p0en", "p1en", "p2en", "p2en", "p4en"]},
        {},
        4,
    ),
    # The lower score of the two passages sets the margin, at 52 degrees.
    "no passage that answers the same words": ({"query": SAME_WORDS}, {}, 3),
    "no passage of the group of the same words": ({"query": SAME_WORDS, "passage_group": [7, 8, 9, 9, 6]}, {}, 4),
    "no passage of its group for the same words": ({"query": SAME_WORDS, "passage_group": [7, 8, 9, 7, 6]}, {}, 4),
}


@pytest.mark.parametrize(("columns", "options", "expected"), RULES.values(), ids=RULES)
def test_the_negative_is_the_nearest_passage_that_no_rule_leaves_out(columns, options, expected):
    corpus = ParallelCorpus.from_frame(rows_of(*[(i, "en") for i in range(5)], **columns), ["en"])
    table = mine_negatives(corpus, placed(**ANGLES), **options).table
    assert table["negative"][0] == table["passage"][expected]
    assert table["negative_group"][0] == table["passage_group"][expected]


def oracle(pairs: pd.DataFrame, encoder: SentenceTransformer, row: int, margin: float, skip: int) -> str | None:
    """Compare one question with every passage, in float64, and return the negative; None if none is hard."""
    query, passages = pairs["query"][row], list(pairs.passage)
    q = encoder.encode_query(query).astype(float)
    d = encoder.encode_document(passages).astype(float)
    scores = d @ q / np.linalg.norm(d, axis=1) / np.linalg.norm(q)
    left = [
        (-score, text)
        for score, text, group in zip(scores, passages, pairs.passage_group, strict=True)
        if group != pairs.passage_group[row] and score <= scores[row] - margin * abs(scores[row])
    ]
    return sorted(left)[skip][1] if len(left) > skip else None


@pytest.mark.parametrize(("margin", "skip"), [(0.05, 0), (0.0, 0), (0.02, 2)])
def test_mined_negatives_are_those_of_brute_force(bert, margin, skip):
    corpus = gappy()
    table = mine_negatives(corpus, bert, relative_margin=margin, range_min=skip, batch_tokens=50).table.to_pandas()
    hard = 0
    for _, pairs in table[table.passage != ""].groupby("language"):
        pairs = pairs.reset_index(drop=True)
        for row in range(len(pairs)):
            expected = oracle(pairs, bert, row, margin, skip)
            assert expected in (None, pairs.negative[row])
            hard += expected is not None
    assert hard >= 10  # of 41: the others have none below the margin


# --- every row


def test_every_row_has_a_negative_of_its_own_language_and_of_another_group(bert):
    corpus = gappy()
    mined = mine_negatives(corpus, bert)
    assert mined.table.column_names == [*COLUMNS, "negative", "negative_group"]
    assert mined.table.select_columns(COLUMNS).to_dict() == corpus.table.to_dict()
    assert mined.languages == corpus.languages and (mined.sizes() == corpus.sizes()).all()
    group_of = {(row["language"], row["passage"]): row["passage_group"] for row in corpus.table}
    for row in mined.table:
        if row["passage"]:
            assert row["negative_group"] == group_of[row["language"], row["negative"]] != row["passage_group"]
        else:
            assert (row["negative"], row["negative_group"]) == ("", -1)


def test_a_language_of_one_group_has_no_negatives_and_one_without_items_is_left_alone():
    frame = rows_of((0, "en"), (1, "en"), (1, "de"), (1, "sw"), passage_group=7)
    corpus = ParallelCorpus.from_frame(frame, ["en", "de", "sw"]).thin({"sw": 0})
    encoder = placed(p0en=1, p1en=2, p1de=3, q0en=0, q1en=0, q1de=0)
    table = mine_negatives(corpus, encoder).table
    assert set(table["negative"]) == {""} and set(table["negative_group"]) == {-1}


def test_where_none_is_hard_random_true_negatives_are_taken_by_seed():
    # A margin of the whole score leaves what is at 90 degrees or beyond, which nothing is.
    encoder = placed(**{f"{kind}{i}en": i for i in range(60) for kind in "pq"})
    rows = [(i, "en") for i in range(60)]
    corpus = ParallelCorpus.from_frame(rows_of(*rows, passage_group=[i // 20 for i in range(60)]), ["en"])

    def drawn(seed: int) -> pd.DataFrame:
        return mine_negatives(corpus, encoder, relative_margin=1.0, seed=seed).table.to_pandas()

    table = drawn(0)
    assert (table.negative_group != table.passage_group).all() and (table.negative_group >= 0).all()
    assert table.negative.nunique() > 30  # each is open to 40 rows that take one of 40: 60 (1 - (39/40)^40) = 38
    assert table.equals(drawn(0)) and not table.equals(drawn(1))


@pytest.mark.parametrize(("margin", "number", "level"), [(1.0, 5, "WARNING"), (0.05, 1, "INFO")])
def test_that_most_negatives_are_random_is_a_warning(caplog, margin, number, level):
    # Nothing is at 90 degrees or beyond, where a margin of the whole score begins. With the usual margin, all questions
    # have a negative but for number 4, whose passage is the farthest.
    caplog.set_level("INFO", "hybridlib")
    mine_negatives(full(5, "en"), placed(**ANGLES), relative_margin=margin)
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        (level, f"en: {number} of 5 negatives are random, as no passage is hard")
    ]


def test_range_max_bounds_how_far_is_looked():
    # Of 12 passages, 1 to 10 are within the margin. Only 11 is hard, and it comes last of all.
    encoder = placed(**{f"p{i}en": i for i in range(1, 11)}, p0en=60, p11en=70, **{f"q{i}en": 0 for i in range(12)})

    def found(range_max: int, seeds: int) -> set[str]:
        mined = (mine_negatives(full(12, "en"), encoder, range_max=range_max, seed=seed) for seed in range(seeds))
        return {corpus.table["negative"][0] for corpus in mined}

    assert found(100, seeds=2) == {"p11en"}
    assert len(found(5, seeds=6)) > 2


@pytest.mark.parametrize("similarity", ["dot", "euclidean", "manhattan"])
def test_what_is_near_is_told_by_cosine_whatever_the_similarity_of_the_encoder(similarity, caplog):
    caplog.set_level("INFO", "hybridlib")
    encoder = placed(**ANGLES)
    encoder.similarity_fn_name = similarity
    assert mine_negatives(full(5, "en"), encoder).table["negative"][0] == "p2en"
    assert caplog.messages == ["en: 1 of 5 negatives are random, as no passage is hard"]


@pytest.mark.parametrize(("wrong", "name"), [("q1en", "query_embeddings"), ("p1en", "passage_embeddings")])
def test_embeddings_that_are_not_finite_are_refused(wrong, name):
    with pytest.raises(ValueError, match=f"^{name}: row 1 holds nan; allowed are finite numbers"):
        mine_negatives(full(5, "en"), placed(**ANGLES | {wrong: float("nan")}))


def test_to_look_at_more_than_there_is_is_to_look_at_all():
    expected = mine_negatives(full(5, "en"), placed(**ANGLES)).table
    assert mine_negatives(full(5, "en"), placed(**ANGLES), range_max=10**9).table.to_dict() == expected.to_dict()
    # Where all are skipped, all are random.
    skipped = mine_negatives(full(5, "en"), placed(**ANGLES), range_min=10**8, range_max=10**9).table
    assert "" not in skipped["negative"]


def test_mining_again_replaces_the_negatives(bert):
    once = mine_negatives(gappy(), bert)
    again = mine_negatives(once, bert)
    assert again.table.to_dict() == once.table.to_dict()


def test_nothing_is_shown_unless_asked(capfd, bert):
    mine_negatives(gappy(), bert)
    assert capfd.readouterr() == ("", "")
    mine_negatives(full(5, "en"), placed(**ANGLES), progress=True)
    shown = capfd.readouterr().err
    assert "mining: 100%" in shown and "encode: 100%" in shown


def test_the_embedded_corpus_in_all_its_languages_has_negatives_in_every_row():
    corpus = load_corpus("atlas", languages=["en", "sw", "th"]).compose({"money": 60})
    table = mine_negatives(corpus, load_encoder("static", corpus=corpus)).table.to_pandas()
    assert len(table) == 180 and (table.negative != "").all() and (table.negative_group != table.passage_group).all()
    for _, rows in table.groupby("language"):
        assert set(rows.negative) <= set(rows.passage)


# --- arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "static"}, "encoder is 'static'; allowed: .*made by load_encoder"),
        ({"corpus": None}, "corpus is None; allowed: .*made by load_corpus"),
        ({"range_min": 1.5}, "range_min is 1.5; allowed: a whole number"),
        ({"seed": -1}, "seed is -1; allowed: greater than or equal to 0"),
        ({"range_min": -1}, "range_min is -1; allowed: greater than or equal to 0"),
        ({"range_min": 5, "range_max": 5}, "range_max is 5; allowed: more than range_min, which is 5"),
        ({"relative_margin": 1.5}, "relative_margin is 1.5; allowed: less than or equal to 1"),
        ({"batch_tokens": 0}, "batch_tokens is 0; allowed: greater than or equal to 1"),
    ],
)
def test_an_argument_out_of_range_is_refused(bert, options, message):
    with pytest.raises(ValueError, match=message):
        mine_negatives(**{"corpus": gappy(), "encoder": bert} | options)
