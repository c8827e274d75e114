"""Tests of contrasts: differences of what is there, and gains by pair of languages and by kind of pair."""

import itertools

import pandas as pd
import pytest
from made_sums import made_sums

from hybridlib.study.report.contrasts import (
    by_place,
    differences,
    gains_by_kind,
    imbalance_changes,
    means_of,
    pair_gains,
    side_by_side,
)

MAIN = made_sums({"hybrid": 0.55, "x-y": 0.5}, spread=0.02)
UNTRAINED = made_sums({"untrained": 0.4})
CONTRASTS = {"minus x-y": {"hybrid": 1, "x-y": -1}, "minus x-x": {"hybrid": 1, "x-x": -1}}


def test_contrasts_of_labels_that_are_not_there_are_left_out():
    found = differences(MAIN, CONTRASTS)
    assert found[["contrast", "verdict"]].to_numpy().tolist() == [["minus x-y", "better"]]
    assert found.value.item() == pytest.approx(0.05)
    assert differences(MAIN, {"minus x-x": CONTRASTS["minus x-x"]}).empty
    assert differences(MAIN[:0], CONTRASTS).empty and differences(pd.DataFrame(), CONTRASTS).empty


def test_only_the_measures_that_are_asked_for_are_told():
    both = pd.concat([MAIN, made_sums({"hybrid": 0.8, "x-y": 0.7}, measure="recall@1")])
    assert set(differences(both, CONTRASTS).measure) == {"map", "recall@1"}
    assert set(differences(both, CONTRASTS, measures=["map"]).measure) == {"map"}


def test_the_same_contrast_of_several_parts_stands_together():
    found = side_by_side({"B": MAIN, "A": made_sums({"hybrid": 0.5, "x-y": 0.5, "x-x": 0.2})}, CONTRASTS)
    assert found.contrast.tolist() == ["A: minus x-x", "B: minus x-y", "A: minus x-y"]


def test_means_of_strategies_keep_the_order_of_the_sums():
    assert means_of(MAIN) == {"hybrid": {"hybrid": 1.0}, "x-y": {"x-y": 1.0}}


def test_changes_with_imbalance_are_told_for_rare_and_rich_languages():
    means = {("hybrid", "unequal"): 0.6, ("x-x-mono", "unequal"): 0.5, ("x-y", "unequal"): 0.58}
    means |= {("hybrid", "balanced"): 0.63, ("x-x-mono", "balanced"): 0.6, ("x-y", "balanced"): 0.62}
    sums = made_sums(means, spread=0.01)
    found = imbalance_changes({"rare": sums, "rich": sums}).set_index("contrast").value
    assert found["rare: hybrid minus x-x-mono, unequal"] == pytest.approx(0.1)
    assert found["rare: hybrid minus x-x-mono, balanced"] == pytest.approx(0.03)
    assert found["rich: hybrid minus x-x-mono, change"] == pytest.approx(0.07)
    assert found["rich: hybrid minus x-y, change"] == pytest.approx(0.02 - 0.01)
    assert len(found) == 2 * 6


def test_map_by_place_is_that_of_the_language_at_the_place_counted_from_1():
    sums = made_sums({("hybrid", "unequal"): 0.5}, setting="multilingual", languages=("de", "en"))
    sums = sums.assign(cell=(sums.query_language == "en").astype(int))
    sums["total"] += 2.0 * sums.cell  # of 10 questions: .2
    found = by_place(sums).set_index("place").value
    assert found.to_dict() == pytest.approx({1: 0.5, 2: 0.7})


def test_of_parts_without_the_contrast_nothing_is_told():
    assert side_by_side({"A": MAIN[:0], "B": MAIN}, {"minus x-x": CONTRASTS["minus x-x"]}).empty
    assert imbalance_changes({"rare": MAIN[:0], "rich": MAIN[:0]}).empty


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: differences(None, CONTRASTS), "sums is None; allowed: an instance of DataFrame"),
        (lambda: differences(MAIN, CONTRASTS, measures="mapp"), "measures: measure is 'mapp'; allowed: map, "),
        (lambda: differences(MAIN, CONTRASTS, label="data"), r"sums .* lacks the column 'data'; it has "),
        (lambda: side_by_side({}, CONTRASTS), "parts are {}; allowed: one table or more, by name"),
        (lambda: imbalance_changes({"rare": MAIN}), r"sums lacks the column 'rich'; it has \['rare'\]"),
        (lambda: by_place(MAIN), r"sums .* lacks the column 'cell'; it has "),
        (lambda: means_of(pd.DataFrame()), r"sums .* lacks the column 'strategy'; it has \[\]"),
        (
            lambda: pair_gains(MAIN, "hybrid", "x-x"),
            "sums have no map of 'x-x' by pair of languages; allowed: hybrid, x",
        ),
        (lambda: pair_gains(MAIN, "hybrid", None), "other is None; allowed: a text"),
        (
            lambda: pair_gains(MAIN.assign(query_language="it"), "hybrid", "x-y"),
            "sums.query_language: row 0 is 'it', .*; allowed: ar, bn, de, ",
        ),
        (
            lambda: gains_by_kind(MAIN),
            r"gains \(as returned by `pair_gains`\) lacks the column 'indo_european'; it has ",
        ),
        (
            lambda: gains_by_kind(pair_gains(pd.concat([MAIN, UNTRAINED]), "hybrid", "x-y")),
            "gains are of pairs of one language; allowed: of pairs of different ones too",
        ),
    ],
)
def test_what_cannot_be_contrasted_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


# Pairs of languages

LANGUAGES = ("de", "en", "hi", "th", "zh")


def pairs_of(gain):
    """Make sums for all pairs of languages, where hybrid gains by pair."""
    parts = []
    for query, passage in itertools.product(LANGUAGES, repeat=2):
        means = {"hybrid": 0.5 + gain(query, passage), "x-x": 0.5, "untrained": 0.4}
        setting = "monolingual" if query == passage else "cross-lingual"
        made = made_sums(means, setting=setting, languages=(query,))
        parts.append(made.assign(passage_language=passage))
    return pd.concat(parts, ignore_index=True)


def test_gains_are_told_by_pair_of_languages_beside_the_untrained_map():
    gains = pair_gains(pairs_of(lambda query, passage: 0.1 * (query != passage)), "hybrid", "x-x")
    table = gains.set_index(["query_language", "passage_language"])
    assert len(table) == 25
    assert table.gain["de", "th"] == pytest.approx(0.1) and table.gain["th", "th"] == pytest.approx(0)
    assert (table.untrained.round(9) == 0.4).all()
    assert table.indo_european[[("de", "hi"), ("de", "th"), ("th", "zh")]].tolist() == [2, 1, 0]
    assert table.same_script[[("de", "en"), ("de", "hi")]].tolist() == [True, False]


def test_gains_are_averaged_over_pairs_of_different_languages_of_a_kind():
    # Of five languages, de, en and hi are Indo-European: 6, 12 and 2 pairs; de and en share their script: 2 and 18.
    family = {"de": 1, "en": 1, "hi": 1, "th": 0, "zh": 0}
    sums = pairs_of(lambda query, passage: 0.9 if query == passage else 0.01 * (family[query] + family[passage]))
    found = gains_by_kind(pair_gains(sums, "hybrid", "x-x"))
    assert found.number.tolist() == [6, 12, 2, 2, 18]
    # Where all pairs of a kind gain alike, so do all draws.
    for kind, gain in (("both Indo-European", 0.02), ("one Indo-European", 0.01), ("neither", 0.0)):
        assert found.loc[kind, ["gain", "lower", "upper"]].tolist() == pytest.approx([gain] * 3)
    # Those of other scripts: (6 - 2) pairs of .02, 12 of .01 and 2 of 0, 18 in all.
    assert found.gain["other script"] == pytest.approx((4 * 0.02 + 12 * 0.01) / 18, abs=5e-5)
    assert found.lower["other script"] < found.gain["other script"] < found.upper["other script"]
