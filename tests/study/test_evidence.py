"""Tests of the evidence of the profile `e5`: what is there and what waits, and that it gives its origin's figures."""

from collections import Counter
from collections.abc import Iterator

import pandas as pd
import pytest

from hybridlib.data.folds import read_folds
from hybridlib.data.sources.lareqa import SHARED_ARTICLES
from hybridlib.paths import evidence_path, params_path
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.report.effects import effects
from hybridlib.study.report.findings import WITHOUT_SEEDS
from hybridlib.study.report.results import read_sums, waiting
from hybridlib.study.runs import store
from hybridlib.study.runs.keys import key_of
from hybridlib.study.runs.ranks import read_record

PARAMS = {name: model.from_yaml(params_path("e5", name)) for name, model in QUESTIONS.items()}
KEYS = {path.stem for path in evidence_path("e5").glob("*.parquet")}


@pytest.fixture(scope="module", autouse=True)
def only_evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Look for runs in the evidence alone, whatever was computed here."""
    empty = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "runs_path", lambda: empty)
        yield


@pytest.fixture(scope="module")
def main() -> list:
    return PARAMS["batch_ratio"].main()


def means(sums: pd.DataFrame) -> pd.DataFrame:
    """Return the macro mean of every strategy, a column for every setting and measure."""
    contrasts = {name: {name: 1.0} for name in dict.fromkeys(sums.strategy)}
    found = effects(sums, contrasts, without_seeds=WITHOUT_SEEDS, draws=20)
    return found.pivot(index="contrast", columns=["setting", "measure"], values="value")


# What is there


def test_every_run_of_the_evidence_is_asked_for_by_a_notebook():
    asked = {key_of(run) for params in PARAMS.values() for run in params.runs()}
    assert KEYS - asked == set()
    encoders = Counter(read_record(evidence_path("e5") / f"{key}.parquet")["run"]["encoder"] for key in KEYS)
    assert encoders == {"multilingual-e5-small-4bit": 177, "bm25": 4}


def test_every_run_that_is_asked_for_and_not_there_is_listed_as_waiting():
    # Of the grid there wait 16 runs at temperature .01, 15 of curves over steps, 8 of four languages at 400 steps and 8
    # of topics. Four runs each of hybrid-pairs and of mix-passages at .01, and three times four without the mask, were
    # thought of later.
    missing = {name: waiting(params.trials()) for name, params in PARAMS.items()}
    counts = Counter(
        trial.labels["strategy"] if trial.run.mask else "no mask"
        for trial in missing["batch_ratio"]
        if trial.run.temperature == 0.02 and "steps" not in trial.labels
    )
    assert counts == {"hybrid-pairs": 4, "no mask": 12}
    cold = Counter(trial.labels["strategy"] for trial in missing["batch_ratio"] if trial.run.temperature == 0.01)
    assert cold == dict.fromkeys(["x-y", "hybrid", "x-x-mono", "x-x", "mix-passages"], 4)
    assert sum("steps" in trial.labels for trial in missing["batch_ratio"]) == 15
    assert Counter((trial.labels["fold"], trial.labels["added"]) for trial in missing["domain_data"]) == {
        (1, "science"): 4, (1, "society"): 4,
    }  # fmt: skip
    assert {trial.run.steps for trial in missing["miracl_high_resource"]} == {400}
    assert len(missing["miracl_high_resource"]) == 8
    assert missing["language_imbalance"] == missing["mlqa_language_families"] == []
    runs = {key_of(trial.run) for trials in missing.values() for trial in trials}
    assert len(runs) == 47 + 4 + 12 + 4 and not runs & KEYS


def test_notebooks_share_runs():
    # All runs of the second are in the first: eight strategies with four folds, and the untrained encoder once.
    common = [{key_of(run) for run in PARAMS[name].runs()} for name in ("batch_ratio", "mlqa_language_families")]
    assert len(common[0] & common[1]) == len(common[1]) == 8 * 4 + 1


# What it gives

# These are the values that came with the runs: mean over the questions of all 48 articles.
PUBLISHED = {
    "x-x-mono": (0.8336, 0.7322, 0.5754, 149),
    "hybrid": (0.8301, 0.7579, 0.6467, 107),
    "x-y": (0.8209, 0.7576, 0.6520, 104),
    "x-x": (0.8225, 0.7010, 0.2476, 403),
    # Here the ranks say otherwise than the values that came with them (.8112, .6896, .3486 and 349): these were counted
    # by hand, from the ranks.
    "untrained": (0.8111, 0.6902, 0.3457, 356),
}


@pytest.fixture(scope="module")
def xquad_r(main: list) -> pd.DataFrame:
    trials = [trial for trial in main if trial.labels["strategy"] in PUBLISHED]
    return read_sums(trials, ("map", "rank_distance"), task="xquad-r")


@pytest.mark.parametrize("strategy", PUBLISHED)
def test_means_on_xquad_r_are_those_published_with_the_runs(xquad_r, strategy):
    # Every question exists in all 11 languages, so the mean over questions is that over languages.
    row = means(xquad_r[xquad_r.strategy == strategy]).loc[strategy]
    maps = [row[setting, "map"] for setting in ("monolingual", "cross-lingual", "multilingual")]
    assert [round(value, 4) for value in maps] == list(PUBLISHED[strategy][:3])
    assert round(row["multilingual", "rank_distance"]) == PUBLISHED[strategy][3]


def test_every_article_is_tested_once_by_each_strategy(xquad_r):
    tests = (
        xquad_r.drop_duplicates(["strategy", "article", "test"]).groupby(["strategy", "article"], observed=True).size()
    )
    assert len(tests) == 48 * len(PUBLISHED) and set(tests) == {1}


TATOEBA = {
    "untrained": 0.8545,
    "x-x-mono": 0.8468,
    "hybrid": 0.8674,
    "x-y": 0.8702,
    "mix-passages": 0.8695,
    "x-x": 0.7962,
}


@pytest.fixture(scope="module")
def tatoeba(main: list) -> pd.DataFrame:
    return read_sums(main, ("recall@1",), task="tatoeba")


def test_means_on_tatoeba_are_those_published_with_the_runs(tatoeba):
    # Both directions of each of the 36 pairs with English count alike.
    cell = tatoeba.query_language.astype(str) + " " + tatoeba.passage_language.astype(str)
    assert cell.nunique() == 72
    found = means(tatoeba.assign(cell=cell))["cross-lingual", "recall@1"]
    assert found.round(4).to_dict() == TATOEBA


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return PARAMS["batch_ratio"].read_tables()


def test_the_notebook_reads_tatoeba_with_the_language_as_the_unit(tables):
    assert means(tables["tatoeba"])["cross-lingual", "recall@1"].round(4).to_dict() == TATOEBA
    assert tables["tatoeba"].article.nunique() == 36
    # All but English of the eleven languages that are trained on are among the 36.
    unseen = set(tables["tatoeba, unseen"].article)
    assert len(unseen) == 26 and not unseen & {"ar", "de", "el", "es", "hi", "ru", "th", "tr", "vi", "zh"}


def test_low_resource_languages_are_told_apart_by_what_was_left_of_them(tables):
    # A fifth or none of the data is left in el and hi in one rotation, in th and tr in the other.
    low = tables["low-resource"]
    assert low.data.cat.categories.tolist() == ["all data", "20% of the data", "no data"]
    for _, rows in low.groupby("data", observed=True):
        assert set(rows.query_language) == {"el", "hi", "th", "tr"}
        assert set(rows.strategy) == {"untrained", "x-y", "hybrid", "x-x-mono"}


def test_each_part_of_the_notebook_has_a_table(tables):
    assert {"main", "mlqa-r", "temperature", "steps"} < set(tables)
    assert "bm25" in set(tables["main"].strategy) and "hybrid-pairs" not in set(tables["main"].strategy)
    assert set(tables["main"][tables["main"].strategy == "bm25"].setting) == {"monolingual"}


def test_the_articles_of_mlqa_r_that_are_trained_on_are_left_out():
    trial = PARAMS["mlqa_language_families"].trials()[0]
    whole = set(store.read(trial.run, trial.run.tests[0]).pairs.article)
    read = set(read_sums([trial], ("map",), task="mlqa-r").article)
    assert whole - read == set(SHARED_ARTICLES) == {"Prime number", "Harvard University"}
    assert len(read) == 518


def test_rare_languages_are_the_five_that_have_least_in_the_order_of_their_fold():
    params = PARAMS["language_imbalance"]
    sums = params.read_tables()
    for fold, order in enumerate(params.orders):
        rare, rich = (sums[name][sums[name].fold == fold] for name in ("rare", "rich"))
        assert set(rare.query_language) == set(order[-5:]) and set(rich.query_language) == set(order[:5])
        assert set(rare.cell) == {6, 7, 8, 9, 10}  # places, from 0
    assert set(sums["rare"].data) == {"unequal", "balanced"}


def test_what_is_missing_of_the_topics_is_missing_of_all_that_is_compared():
    # Science and society are not computed with fold 1 held out, which leaves six topics and folds of eight.
    for part in PARAMS["domain_data"].read_tables().values():
        tests = part.groupby("strategy", observed=True).test.agg(set)
        assert len(tests) == 5 and all(of == tests.iloc[0] for of in tests) and len(tests.iloc[0]) == 6


def test_topics_are_told_apart_by_the_article():
    tables = PARAMS["domain_data"].read_tables()
    domains = read_folds().domain
    topics = tables["inside"].article.astype(str).map(domains)
    assert (topics == tables["inside"].added.astype(str)).all()
    assert (tables["outside"].article.astype(str).map(domains) != tables["outside"].added.astype(str)).all()


def test_a_specialised_encoder_is_asked_in_its_own_language_and_elsewhere_in_none_of_the_four():
    tables = PARAMS["miracl_high_resource"].read_tables()
    own = tables["main"][tables["main"].strategy == "specialised"]
    assert (own.query_language.astype(str) == own.trained_on.astype(str)).all()
    assert set(own.query_language) == {"en", "es", "ru", "zh"}
    assert not {"en", "es", "ru", "zh"} & set(tables["elsewhere"].query_language)
    # There, the mean is over all four of them, so it has four times the questions.
    asked = tables["elsewhere"].groupby("strategy", observed=True)["count"].sum()
    assert asked["specialised"] == 4 * asked["hybrid"]
