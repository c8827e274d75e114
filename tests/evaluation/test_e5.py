"""The evidence of `e5`, made again on this machine: the untrained encoder gives the ranks that were kept.

Some languages of fold 3 are taken, as the rank among the passages of a language does not depend on other languages.
The evidence was computed on a GPU, with matrix products in bfloat16.
"""

import numpy as np
import pytest

from hybridlib.data.load import load_corpus, load_task
from hybridlib.evaluation.centred import language_means
from hybridlib.evaluation.evaluate import measure
from hybridlib.evaluation.pairs import Measured, results_of
from hybridlib.study.report.results import summarize
from hybridlib.study.run import Run, Test
from hybridlib.study.runs import store


def untrained(**settings):
    tests = (Test(task="xquad-r"),)
    start = {"encoder": "multilingual-e5-small-4bit", "max_length": 128, "steps": 0}
    return Run(corpus="xquad-r", fold=3, data_seed=0, seed=0, tests=tests, **start, **settings)


def kept(run, languages):
    """Return the ranks of the evidence within some languages, and none in the pool."""
    whole = store.read(run, run.tests[0])
    chosen = (whole.pairs.query_language.isin(languages) & whole.pairs.passage_language.isin(languages)).to_numpy()
    pairs, ranks = whole.pairs[chosen].reset_index(drop=True), whole.in_language[chosen]
    return Measured(pairs, ranks, np.zeros_like(ranks), whole.settings)


@pytest.fixture(scope="module")
def e5():
    try:
        return untrained().start()
    except FileNotFoundError as error:
        pytest.skip(f"the encoder is not at hand: {error}")


@pytest.mark.parametrize(("centred", "languages"), [(False, ["de", "en", "hi", "th"]), (True, ["en", "th"])])
def test_the_untrained_encoder_gives_the_ranks_of_the_evidence(real_data, e5, centred, languages):
    run = untrained(centred=centred)
    means = language_means(e5, load_corpus("xquad-r", fold=3, languages=languages)) if centred else None
    made = measure(e5, load_task("xquad-r", fold=3, languages=languages), means=means, progress=False)
    expected = kept(run, languages)
    for column in ("query_id", "passage_id"):
        assert made.pairs[column].tolist() == expected.pairs[column].tolist()
    # Of the ranks, 97 of 100 were the same when this was written, and map differed by .0013 at most.
    assert (made.in_language == expected.in_language).mean() > 0.9
    found, known = (summarize(results_of(one, ["map"]))["map"] for one in (made, expected))
    for setting in ("monolingual", "cross-lingual"):
        assert found[setting] == pytest.approx(known[setting], abs=0.002)
