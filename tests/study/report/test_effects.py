"""Tests of effects: means are macro, articles and seeds both count, p and interval agree, and cover as they say."""

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

from hybridlib.paths import project_root
from hybridlib.study.report.claims import holm
from hybridlib.study.report.effects import MARGINS, effects, joint, verdicts

MINUS = {"minus": {"a": 1, "b": -1}}


def sums_of(values: np.ndarray, strategy: str = "a", **columns: object) -> pd.DataFrame:
    """Make the sums of one strategy on one test from values by run and article, one question each. (R, A)"""
    run, article = np.indices(values.shape).reshape(2, -1)
    table = {"article": article, "test": "t", "fold": 0, "seed": run, "setting": "monolingual", "measure": "map"}
    table |= {"query_language": "en", "passage_language": "en", "total": values.ravel(), "count": 1}
    return pd.DataFrame(table | {"strategy": strategy} | columns)


def two(a: Sequence, b: Sequence, **columns: object) -> pd.DataFrame:
    """Make the sums of two strategies, a and b."""
    return pd.concat([sums_of(np.atleast_2d(values), name, **columns) for name, values in (("a", a), ("b", b))])


def random_sums(seed: int = 0, articles: int = 12) -> pd.DataFrame:
    """Draw sums of four strategies in three languages and two settings, each article in one of four tests."""
    rng = np.random.default_rng(seed)
    tables = []
    for strategy in ("a", "b", "c", "x-x"):
        for setting in ("monolingual", "multilingual"):
            for language in ("en", "sw", "th"):
                count = 3 + np.arange(articles) % 5
                total = count * rng.uniform(0.3, 0.7, articles)
                columns = {"setting": setting, "query_language": language, "passage_language": language}
                columns |= {"total": total, "count": count, "seed": 0, "fold": np.arange(articles) % 4}
                columns["test"] = [f"t-{fold}" for fold in np.arange(articles) % 4]
                tables.append(sums_of(np.zeros((1, articles)), strategy, **columns))
    return pd.concat(tables, ignore_index=True)


def one(table: pd.DataFrame) -> pd.Series:
    (row,) = table.to_dict("records")
    return pd.Series(row)


# The mean


def test_a_mean_is_macro_over_passage_languages_and_then_over_query_languages():
    rows = [
        # article, query language, passage language, total, count
        (0, "en", "en", 3.0, 4),
        (1, "en", "en", 0.0, 2),  # en-en: 3 of 6 is .5
        (0, "en", "sw", 0.9, 1),  # en-sw: .9; English: (.5 + .9) / 2 = .7
        (0, "sw", "sw", 0.2, 1),
        (1, "sw", "sw", 0.0, 1),  # Swahili: .1
    ]
    columns = ["article", "query_language", "passage_language", "total", "count"]
    table = pd.DataFrame(rows, columns=columns).assign(strategy="a", test="t", fold=0, seed=0)
    table = table.assign(setting="cross-lingual", measure="map")
    assert one(effects(table, {"mean": {"a": 1}})).value == 0.4  # (.7 + .1) / 2
    # Cells of the caller's count alike: "far" is en-sw, "near" are the other pairs, 3.2 of 8.
    cell = np.where(table.query_language == table.passage_language, "near", "far")
    assert one(effects(table.assign(cell=cell), {"mean": {"a": 1}})).value == 0.65  # (.9 + .4) / 2


def test_runs_of_a_test_are_averaged_and_tests_are_not():
    folds = [sums_of(np.array([[0.2, 0.4]]), test="t-0"), sums_of(np.array([[0.9]]), test="t-1", article=7)]
    again = sums_of(np.array([[0.4, 0.6]]), test="t-0").assign(seed=1)
    # Articles: .3 and .5, by two runs, and .9 by one.
    assert one(effects(pd.concat([*folds, again]), {"mean": {"a": 1}})).value == pytest.approx(1.7 / 3, abs=1e-6)


def test_a_contrast_may_weigh_labels_of_several_columns():
    table = two([0.5, 0.7], [0.2, 0.4])
    table = pd.concat([table.assign(alpha=0.5), table.assign(alpha=1.0, total=table.total + 0.1)])
    contrast = {"gain": {("a", 1.0): 1, ("b", 0.5): -0.5, ("b", 1.0): -0.5}}
    # .7 - (.3 + .4) / 2
    assert one(effects(table, contrast, label=["strategy", "alpha"])).value == 0.35


# Articles


def test_without_seeds_the_interval_is_the_textbooks():
    difference = np.random.default_rng(3).normal(0.02, 0.05, 40)
    found = one(effects(two(difference, np.zeros(40)), MINUS, without_seeds=["a", "b"], draws=39_999))
    error = difference.std(ddof=1) / 40**0.5
    assert found.sd == pytest.approx(error, abs=1e-6)
    # An end at 39,999 draws has a standard error of 1 % of the way; bootstrapped sums have thinner tails by 1 %.
    assert found.upper - found.value == pytest.approx(error * stats.t.ppf(0.975, 39), rel=0.04)
    assert found.value - found.lower == pytest.approx(found.upper - found.value, abs=2e-6)


def test_a_large_article_leaves_fewer_degrees_of_freedom():
    table = two([0.3, 0.5, 0.4, 0.6, 0.5], [0.4, 0.4, 0.5, 0.5, 0.4])
    wide = table.assign(count=[8, 1, 1, 1, 1] * 2, total=table.total * np.array([8, 1, 1, 1, 1] * 2))
    equal, unequal = (one(effects(sums, MINUS, without_seeds=["a", "b"])) for sums in (table, wide))
    # Twelve questions in shares of 8/12 and 1/12: 1 / (64 + 4) * 144 - 1 = 1.12 degrees of freedom; equal ones have 4.
    # Student's t has 2.8 at 4 and 10 at 1.12 degrees; a resample leaves the large article out in a third of draws.
    ratios = [(found.upper - found.value) / found.sd for found in (equal, unequal)]
    assert 2.4 < ratios[0] < 3.2 < 5 < ratios[1]


def test_sides_are_paired_by_article():
    shared = np.random.default_rng(5).normal(0.5, 0.2, 30)
    found = one(effects(two(shared + 0.1, shared), MINUS, without_seeds=["a", "b"]))
    assert (found.value, found.lower, found.upper, found.sd, found.p) == (0.1, 0.1, 0.1, 0, 1e-4)


# Seeds


@pytest.mark.parametrize(
    ("strategy", "measure", "sd"),
    [("hybrid", "map", 0.0018), ("x-x", "map", 0.007), ("hybrid", "rank_distance", 1.6), ("x-x", "rank_distance", 14)],
)
def test_with_one_run_a_test_seeds_vary_as_in_the_pilot(strategy, measure, sd):
    at = {"setting": "multilingual", "measure": measure}
    sides = [
        sums_of(np.full((1, 4), value), name, **at, test=["t", "t", "t", "u"])
        for name, value in ((strategy, 0.5), ("other", 0.4))
    ]
    contrast = {"minus": {strategy: 1, "other": -0.5}}
    # Articles do not vary. The tests have three quarters and one quarter of the articles: (9 + 1) / 16 of the variance.
    of_other = 0.0018 if measure == "map" else 1.6
    expected = ((sd**2 + 0.25 * of_other**2) * 10 / 16) ** 0.5
    found = one(effects(pd.concat(sides), contrast))
    assert found.sd == pytest.approx(expected, abs=1e-6)
    # Student's t with 26 degrees of freedom; 2.5 % is four standard errors of an end.
    assert found.upper - found.value == pytest.approx(stats.t.ppf(0.975, 26) * expected, rel=0.04)
    assert one(effects(pd.concat(sides), contrast, without_seeds=[strategy, "other"])).sd == 0


@pytest.mark.parametrize(("strategy", "share"), [("hybrid", 0.03), ("x-x", 0.11)])
def test_seeds_move_other_measures_by_a_share_of_what_articles_do(strategy, share):
    values = np.array([[0.2, 0.4, 0.6, 0.8]])  # variance of articles, as they are: .05
    table = sums_of(values, strategy, measure="recall@1")
    with_seeds, without = (
        one(effects(table, {"mean": {strategy: 1}}, without_seeds=fixed)).sd for fixed in ((), (strategy,))
    )
    assert with_seeds**2 - without**2 == pytest.approx(share**2 * 0.05, abs=1e-6)


def test_runs_of_the_same_test_widen_the_interval_by_student_t():
    # Articles are all alike, so this is the textbook's interval of three seeds with a standard error of 0.1 / 3^0.5.
    runs = np.repeat([[0.1], [0.2], [0.3]], 50, axis=1)
    found = one(effects(two(runs, np.zeros((3, 50))), MINUS))
    lower, upper = stats.t(2, loc=0.2, scale=0.1 / 3**0.5).interval(0.95)
    # The slope of t's quantile is steep with 2 degrees: four standard errors of an end are 15 %.
    assert (found.lower, found.upper) == pytest.approx((lower, upper), abs=0.04)
    assert found.sd == pytest.approx(0.1 / 3**0.5, abs=1e-6)


def test_runs_are_paired_so_what_both_sides_share_is_no_error():
    shift = np.repeat([[0.1], [0.2], [0.4]], 9, axis=1)
    assert one(effects(two(shift + 0.1, shift), MINUS)).sd == 0
    assert one(effects(two(shift + 0.1, shift[::-1]), MINUS)).sd > 0.1


def test_the_variance_is_that_of_the_two_way_table():
    # The means by run are 1 and 3, those by article 1 and 3, and that of all is 2. Each value is 0.5 off their sum.
    # Runs: Var(1, 3) / 2 = 1. Articles the same, less the residual mean square 4 * 0.5^2 / 1 = 1 over 4 values.
    values = np.array([[0.5, 1.5], [1.5, 4.5]])
    assert one(effects(sums_of(values), {"mean": {"a": 1}})).sd == pytest.approx(1.75**0.5, abs=1e-6)


def test_runs_of_several_tests_are_pooled():
    # Two articles a test, in which runs differ by 0.2 and 0.4: variances .02 and .08, pooled .05 with 2 degrees. Means
    # of two runs have half of it, and each test is half of the mean: .05 / 2 * (1/4 + 1/4) = .0125.
    tests = [sums_of(np.array([[0.1, 0.1], [0.3, 0.3]]), test="t"), sums_of(np.array([[0.4] * 2, [0.0] * 2]), test="u")]
    tests[1]["article"] += 2
    table = pd.concat(tests)
    assert one(effects(table, {"mean": {"a": 1}})).sd == pytest.approx(0.0125**0.5, abs=1e-6)


# Numbers


@pytest.mark.parametrize("dtype", ["float16", "float32", "Float32", "category", "object", "float64[pyarrow]"])
def test_sums_are_made_in_float64_whatever_type_the_totals_have(dtype):
    # In float32 numbers near a million are an eighth apart, in float16 those near a thousand one.
    near = 1000 if dtype == "float16" else 1_000_000
    table = two(near + np.arange(30) % 7, near + np.arange(30) % 5, measure="rank_distance")
    typed = table.assign(total=table.total.astype(dtype), count=table["count"].astype("Int8"))
    pd.testing.assert_frame_equal(effects(typed, MINUS), effects(table.astype({"total": float}), MINUS))


def test_labels_columns_and_measures_may_be_a_text_a_generator_or_an_array():
    table = two([0.5, 0.7, 0.4], [0.2, 0.4, 0.3])
    expected = effects(table, MINUS, without_seeds=["a"])
    for label, by, seedless in (
        ("strategy", (name for name in ("setting", "measure")), "a"),
        (np.array(["strategy"]), pd.Index(["setting", "measure"]), {"a"}),
    ):
        found = effects(table, MINUS, label=label, by=by, without_seeds=seedless, seed=np.int64(0))
        pd.testing.assert_frame_equal(found, expected)
    weights = {"minus": {"a": np.float32(1), "b": np.int8(-1)}}
    pd.testing.assert_frame_equal(effects(table, weights, without_seeds="a"), expected)


@pytest.mark.parametrize(("articles", "told"), [(2, True), (4, True), (5, False)])
def test_that_articles_are_few_is_told(articles, told, caplog):
    effects(two(np.arange(articles), np.zeros(articles)), MINUS)
    expected = f"some effects are over {articles} articles only, so their intervals are wide and p is coarse"
    assert [record.getMessage() for record in caplog.records] == [expected] * told


# p and the interval


@pytest.mark.parametrize("draws", [20, 39, 40, 99, 997])
def test_p_is_below_5_percent_exactly_where_the_interval_excludes_what_it_tests(draws):
    rng = np.random.default_rng(17)
    tables = []
    for data in range(300):  # of values about two standard errors from 0, and about .01 from it
        difference = rng.normal(0.01, 0.016, 12) * rng.choice([-1, 1])
        tables.append(two(difference, np.zeros(12), data=data))
    by = ("data", "setting", "measure")
    found = effects(pd.concat(tables), MINUS, by=by, margin=MARGINS, draws=draws)
    shown, spared = (found.lower > 0) | (found.upper < 0), found.lower > -found.margin
    assert 30 < shown.sum() < 270 and 30 < spared.sum() < 270  # elsewhere they could hardly differ
    assert ((found.p < 0.05) == shown).all()
    assert ((found.p_margin < 0.05) == spared).all()


def test_p_is_1_where_all_is_equal_and_never_0():
    assert one(effects(two(np.ones(9), np.ones(9)), MINUS, without_seeds=["a", "b"])).p == 1
    assert one(effects(two(np.ones(9), np.zeros(9)), MINUS, without_seeds=["a", "b"], draws=99)).p == 0.01


def test_a_row_is_the_same_whatever_the_other_rows_their_order_and_the_threads():
    sums = random_sums()
    contrasts = {f"{name} minus c": {name: 1, "c": -1} for name in ("a", "b", "x-x")}
    full = effects(sums, contrasts)
    with threadpool_limits(1):
        shuffled = effects(sums.sample(frac=1, random_state=1), dict(reversed(contrasts.items())))
    keys = ["setting", "measure", "contrast"]
    pd.testing.assert_frame_equal(
        shuffled.sort_values(keys, ignore_index=True), full.sort_values(keys, ignore_index=True)
    )
    alone = effects(sums[sums.setting == "multilingual"], {"b minus c": contrasts["b minus c"]})
    chosen = full[(full.setting == "multilingual") & (full.contrast == "b minus c")]
    assert alone.to_dict("records") == chosen.to_dict("records")
    assert effects(sums, contrasts, seed=1).lower.ne(full.lower).any()


def test_turned_round_a_contrast_is_its_mirror_image():
    found = effects(random_sums(), {"there": {"a": 1, "b": -1}, "back": {"a": -1, "b": 1}}, by=("setting", "measure"))
    there, back = (found[found.contrast == name].reset_index() for name in ("there", "back"))
    assert (there.value == -back.value).all() and (there.lower == -back.upper).all() and (there.p == back.p).all()


def test_draws_cross_blocks_and_numbers_of_articles_unnoticed(monkeypatch):
    sums = random_sums()
    sums["topic"] = np.where(sums.article < 5, "few", "many")
    contrasts = {f"{name} minus c": {name: 1, "c": -1} for name in ("a", "b", "x-x")}
    by = ("topic", "setting", "measure")
    found = effects(sums, contrasts, by=by)
    monkeypatch.setattr("hybridlib.study.report.effects.BLOCK", 2)
    pd.testing.assert_frame_equal(effects(sums, contrasts, by=by), found)
    few = effects(sums[sums.topic == "few"], contrasts, by=by)
    assert few.to_dict("records") == found[found.topic == "few"].to_dict("records")


def test_a_group_without_a_side_has_no_row():
    sums = random_sums()
    sums = sums[(sums.strategy != "a") | (sums.setting == "monolingual")]
    assert effects(sums, MINUS).setting.tolist() == ["monolingual"]


# Margins and verdicts


def test_a_margin_is_absolute_or_a_share_of_the_negative_sides_mean():
    sums = two([30.0, 50.0], [40.0, 80.0], measure="rank_distance", setting="multilingual")
    sums = pd.concat([sums, sums_of(np.array([[20.0, 60.0]]), "c", measure="rank_distance", setting="multilingual")])
    contrast = {"minus": {"a": 1, "b": -0.75, "c": -0.25}, "mean": {"a": 1}}
    found = effects(sums, contrast, margin=MARGINS)
    assert found.margin.tolist() == pytest.approx([5.5, np.nan], nan_ok=True)  # a tenth of .75 * 60 + .25 * 40
    assert found.p_margin.isna().tolist() == [False, True]
    found = effects(two([0.3, 0.5], [0.4, 0.6]), MINUS, margin={"map": 0.02, "recall@1": 0.5})
    assert found.margin.tolist() == [0.02]
    # The value lies .08 beyond the margin, so nothing speaks against its being there.
    assert found.p_margin.tolist() == [1]


@pytest.mark.parametrize(("measure", "better"), [("map", 1), ("rank_distance", -1)])
def test_a_loss_is_upwards_where_less_is_better(measure, better):
    # The margin is .01 of map and 3 of rank distance; the sides are .5 apart, or 15, in all articles.
    unit = {"map": 1, "rank_distance": 30}[measure]
    contrasts = {"gain": {"a": better, "b": -better}, "loss": {"a": -better, "b": better}}
    sums = two(np.full(9, 1.5 * unit), np.full(9, 1.0 * unit), measure=measure)
    found = effects(sums, contrasts, margin=MARGINS, without_seeds=["a", "b"], draws=99)
    assert dict(zip(found.contrast, found.p_margin, strict=True)) == {"gain": 0.01, "loss": 1}


def test_verdicts_are_symmetric_and_turned_round_where_less_is_better():
    rows = [
        # measure, lower, upper, verdict, whether not inferior, verdict without margins
        ("map", 0.001, 0.02, "better", True, "better"),
        ("map", -0.02, -0.001, "worse", False, "worse"),
        ("map", -0.008, -0.001, "worse", True, "worse"),
        ("map", -0.008, 0.003, "not inferior", True, "not told apart"),
        ("map", -0.01, 0.003, "not told apart", False, "not told apart"),
        ("map", 0.0, 0.003, "not inferior", True, "not told apart"),
        ("map", -0.02, 0.0, "not told apart", False, "not told apart"),
        ("map", 0.0, 0.0, "not inferior", True, "not told apart"),
        ("map", -0.02, -0.01, "worse", False, "worse"),
        ("map", -0.01, -0.01, "worse", False, "worse"),
        ("rank_distance", -20, -1, "better", True, "better"),
        ("rank_distance", 1, 20, "worse", False, "worse"),
        ("rank_distance", -20, 5, "not inferior", True, "not told apart"),
        ("rank_distance", -20, 12, "not told apart", False, "not told apart"),
        ("rank_distance", -20, 0, "not inferior", True, "not told apart"),
        ("rank_distance", 0, 20, "not told apart", False, "not told apart"),
        ("rank_distance", 12, 12, "worse", False, "worse"),
        ("recall@1", -0.001, 0.001, "not told apart", False, "not told apart"),
    ]
    table = pd.DataFrame([row[:3] for row in rows], columns=["measure", "lower", "upper"])
    margin = table.measure.map({"map": 0.01, "rank_distance": 12})
    found = verdicts(table.assign(margin=margin))
    assert found.verdict.tolist() == [row[3] for row in rows]
    assert found.not_inferior.tolist() == [row[4] for row in rows]
    found = verdicts(table)
    assert found.verdict.tolist() == [row[5] for row in rows]
    assert "not_inferior" not in found


def test_holm_is_as_by_hand():
    # In order 0.005, 0.01, 0.03, 0.04: 4 * 0.005 = 0.02, 3 * 0.01 = 0.03, 2 * 0.03 = 0.06, max(0.04, 0.06) = 0.06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.7, 0.6]), [1, 1])  # 2 * 0.6 is above 1


# Two settings together


def test_joint_says_how_two_settings_vary_together():
    x, y = np.random.default_rng(7).multivariate_normal([0.6, 0.4], [[0.02, 0.01], [0.01, 0.03]], 25).T
    table = pd.concat([sums_of(x[None]), sums_of(y[None], setting="multilingual")])
    found = one(joint(table, {"mean": {"a": 1}}, without_seeds=["a"]))
    assert (found.x, found.y) == pytest.approx((x.mean(), y.mean()), abs=1e-6)
    expected = np.cov(x, y) / 25
    assert [found.variance_x, found.covariance, found.variance_y] == pytest.approx(expected[[0, 0, 1], [0, 1, 1]])
    # Hotelling: (G - 1) 2 / (G - 2) F(2, G - 2), for G = 25.
    assert found.radius == pytest.approx((24 * 2 / 23 * stats.f.ppf(0.95, 2, 23)) ** 0.5, abs=1e-6)
    # Seeds widen each by itself.
    wider = one(joint(table, {"mean": {"a": 1}}))
    assert wider.covariance == found.covariance
    assert wider.variance_x - found.variance_x == pytest.approx(0.0013**2)
    assert wider.variance_y - found.variance_y == pytest.approx(0.0018**2)


def test_joint_leaves_out_what_one_of_the_settings_lacks():
    table = pd.concat([sums_of(np.array([[0.1, 0.2]]), setting=name) for name in ("monolingual", "multilingual")])
    table = pd.concat([table, sums_of(np.array([[0.1, 0.2]]), measure="recall@1")])
    assert joint(table, {"mean": {"a": 1}}).measure.tolist() == ["map"]


def test_joint_tells_articles_apart_that_one_of_the_settings_lacks():
    x, y = np.array([[0.1, 0.3, 0.2, 0.6]]), np.array([[0.2, 0.5, 0.8]])
    here, there = sums_of(x), sums_of(y, setting="multilingual").assign(article=[1, 2, 3])
    found = one(joint(pd.concat([there, here]), {"mean": {"a": 1}}, without_seeds=["a"]))
    # Errors of articles 1 to 3: 0, -.1 and .3 of four, and -.3, 0 and .3 of three: .09 / (4 * 3), and the roots of the
    # corrections 4 / 3 and 3 / 2.
    assert found.covariance == pytest.approx(0.09 / 12 * (4 / 3 * 3 / 2) ** 0.5)


# Errors


SUMS = two([0.1, 0.2, 0.3], [0.3, 0.2, 0.1])


def with_first(column: str, value: object) -> pd.DataFrame:
    """Replace the first value of a column of the sums."""
    return SUMS.assign(**{column: pd.Series([value, *SUMS[column][1:]], SUMS.index, dtype=object)})


RUNS = pd.concat([sums_of(np.ones((3, 2))), sums_of(np.ones((1, 2)), "b")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"draws": 19}, "draws is 19; allowed: greater than or equal to 20"),
        ({"draws": 10**12}, "draws is 1000000000000; allowed: less than or equal to 1000000"),
        ({"draws": "99"}, "draws is '99'; allowed: a whole number"),
        ({"seed": -1}, "seed is -1; allowed: greater than or equal to 0"),
        ({"seed": 0.5}, "seed is 0.5; allowed: a whole number"),
        ({"margin": {"map": 0.0}}, "margin.map is 0.0; allowed: greater than 0"),
        ({"margin": True}, "margin is True; allowed: a name and a value for each"),
        ({"margin": {"map": True}}, "margin.map is True; allowed: a number"),
        ({"margin": {"map": np.nan}}, "margin.map is nan; allowed: a finite number"),
        ({"margin": {"mapp": 0.01}}, "margin: measure is 'mapp'; allowed: map, rank_distance, "),
        ({"sums": None}, "sums is None; allowed: an instance of DataFrame"),
        ({"sums": pd.DataFrame()}, r"sums \(as returned by `read_sums`\) lacks the column 'setting'; it has \[\]"),
        ({"sums": SUMS.iloc[:0]}, "sums have no row with a count; allowed: one or more"),
        ({"label": "stratgy"}, r"sums \(as returned by `read_sums`\) lacks the column 'stratgy'; it has "),
        ({"by": ["setting", "domain"]}, r"sums \(as returned by `read_sums`\) lacks the column 'domain'; it has "),
        ({"by": None}, "by is None; allowed: a list"),
        ({"without_seeds": None}, "without_seeds is None; allowed: a list"),
        ({"contrasts": {}}, "contrasts are {}; allowed: each with the weight of one label or more"),
        ({"contrasts": {"m": {"a": 1, ("a",): -1}}}, r"contrasts are {'m': .*}; allowed: .*, and of none twice"),
        ({"contrasts": {"m": {"a": np.nan}}}, "contrasts.m.a is nan; allowed: "),
        ({"contrasts": {"m": {"a": True}}}, "contrasts.m.a is True; allowed: a number"),
        ({"contrasts": {"m": {"a": "1"}}}, "contrasts.m.a is '1'; allowed: a number"),
        ({"contrasts": {"m": {"a": 1e300}}}, r"contrasts.m.a is 1e\+300; allowed: "),
        ({"contrasts": {"m": ["a", "b"]}}, r"contrasts.m is \['a', 'b'\]; allowed: a name and a value for each"),
        (
            {"sums": with_first("total", np.nan)},
            "sums.total: row 0 is nan; allowed: a finite number where the count is",
        ),
        ({"sums": with_first("total", np.inf)}, "sums.total: row 0 is inf; allowed: a finite number"),
        ({"sums": with_first("total", 1e308)}, r"sums.total: row 0 is 1e\+308; allowed: a finite number"),
        ({"sums": with_first("total", "0.1")}, "sums.total: row 0 is '0.1'; allowed: a finite number"),
        ({"sums": with_first("total", True)}, "sums.total: row 0 is True; allowed: a finite number"),
        ({"sums": with_first("total", 1j)}, "sums.total: row 0 is 1j"),
        ({"sums": with_first("count", np.nan)}, "sums.count: row 0 is nan; allowed: a finite number"),
        ({"sums": with_first("count", 0.5)}, "sums.count: row 0 is 0.5; allowed: a whole number, 0 or more"),
        ({"sums": with_first("count", -1)}, "sums.count: row 0 is -1; allowed: a whole number, 0 or more"),
        ({"sums": with_first("count", 0)}, "sums.total: row 0 is 0.1; allowed: 0 or none where the count is 0"),
        ({"sums": with_first("setting", "monolngual")}, "sums.setting: row 0 is 'monolngual'; allowed: monolingual, "),
        ({"sums": with_first("measure", "mapp")}, "sums.measure: measure is 'mapp'; allowed: map, rank_distance, "),
        ({"sums": with_first("article", [1])}, r"sums.article: row 0 is \[1\]; allowed: a name"),
        ({"sums": with_first("strategy", ["a"])}, r"sums.strategy: row 0 is \['a'\]; allowed: a name"),
        ({"sums": with_first("article", None)}, "sums.article: row 0 is None; allowed: a name"),
        ({"sums": with_first("query_language", None)}, "sums.query_language: row 0 is None; allowed: a name"),
        (
            {"sums": pd.concat([SUMS, SUMS.assign(measure="ndcg@10")]), "by": "setting"},
            r"by is \['setting'\]; allowed: with 'measure', of which the sums have several values",
        ),
        (
            {"sums": pd.concat([SUMS, SUMS.assign(setting="multilingual", passage_language="all")]), "by": "measure"},
            r"by is \['measure'\]; allowed: with 'setting', of which the sums have several values",
        ),
        ({"contrasts": {"none": {}}}, "contrasts are {'none': {}}; allowed: each with the weight of one label or more"),
        ({"contrasts": {"one": {"A": 1}}}, r"sums have no strategy \[\('A',\)\]; allowed: \[\['a'\], \['b'\]\]"),
        ({"sums": SUMS.assign(count=0)}, "sums have no row with a count; allowed: one or more"),
        (
            {"sums": pd.concat([SUMS, SUMS])},
            "sums have two runs of the same setting, measure, strategy, test, fold, seed;",
        ),
        ({"sums": SUMS[SUMS.article == 1]}, "a and b: sums are of 1 article; allowed: 2 or more"),
        ({"sums": SUMS.iloc[1:]}, r"a and b: sums are of \[2, 3\] articles; allowed: the same of all"),
        ({"sums": RUNS}, "a and b have not the same folds and seeds; allowed: the same, or to name those without"),
        (
            {"sums": SUMS.assign(setting=np.where(SUMS.strategy == "a", *("monolingual", "multilingual")))},
            "no group of the sums has all sides of a contrast; allowed: one or more",
        ),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        effects(**{"sums": SUMS, "contrasts": MINUS} | arguments)


def test_those_without_seeds_need_not_have_the_same_runs():
    assert one(effects(RUNS, MINUS, without_seeds=["b"])).value == 0


def test_a_total_that_nothing_counts_may_be_missing():
    nothing = sums_of(np.full((1, 3), np.nan)).assign(count=0, query_language="sw")
    assert effects(pd.concat([SUMS, nothing]), MINUS).to_dict() == effects(SUMS, MINUS).to_dict()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lower": np.nan}, "table.lower: row 0 is nan; allowed: a finite number"),
        ({"upper": "0.2"}, "table.upper: row 0 is '0.2'; allowed: a finite number"),
        ({"lower": 0.3}, "table.lower: row 0 is 0.3; allowed: at most the upper end"),
        ({"measure": "mapp"}, "table.measure: measure is 'mapp'; allowed: map, rank_distance, "),
        ({"measure": None}, "table.measure: measure is 'None'; allowed: map, rank_distance, "),
        ({"margin": 0.0}, "table.margin: row 0 is 0.0; allowed: above 0"),
        ({"margin": "0.01"}, "table.margin: row 0 is '0.01'; allowed: a finite number or none"),
    ],
)
def test_nothing_is_said_of_what_is_no_interval_or_no_measure(changed, message):
    table = pd.DataFrame({"measure": ["map"], "lower": [0.1], "upper": [0.2]})
    assert verdicts(table).verdict.item() == "better"
    with pytest.raises(ValueError, match=f"^{message}"):
        verdicts(table.assign(**changed))
    with pytest.raises(ValueError, match=r"^table \(as returned by `effects`\) lacks the column 'lower'; it has "):
        verdicts(SUMS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("monolingual", r"settings are \['monolingual'\]; allowed: two of monolingual, cross-lingual, multilingual"),
        (("monolingual", "monolingual"), r"settings are \['monolingual', 'monolingual'\]; allowed: two of "),
        (("monolingual", "multi"), r"settings are \['monolingual', 'multi'\]; allowed: two of "),
        (("monolingual", "multilingual"), "no group of the sums has all sides of a contrast in monolingual and multi"),
        (None, "settings is None; allowed: a list"),
    ],
)
def test_joint_needs_two_settings_that_are_there(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        joint(SUMS, MINUS, settings=settings)


@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([], "p is empty; allowed: one or more values from 0 to 1"),
        ([0.1, np.nan], "p.1 is nan; allowed: "),
        ([1.1], "p.0 is 1.1; allowed: less than or equal to 1"),
        ([-0.1], "p.0 is -0.1; allowed: greater than or equal to 0"),
        (["0.1"], "p.0 is '0.1'; allowed: a number"),
        ([True], "p.0 is True; allowed: a number"),
        ([1j], "p.0 is 1j; allowed: a number"),
        (0.1, "p is 0.1; allowed: a list"),
        (np.ones((2, 2)), r"p.0 is an array of float64 of shape \(2,\); allowed: a number"),
        (pd.Series([0.1, None], dtype="Float64"), "p.1 is of the type NAType; allowed: a number"),
        (np.ma.array([0.1, 0.2], mask=[False, True]), "p.1 is None; allowed: a number"),
    ],
)
def test_holm_takes_p_values_only(p, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        holm(p)


def test_holm_takes_arrays_series_and_generators_of_any_precision():
    for p in (np.array([0.25, 0.5], np.float16), pd.Series([0.25, 0.5]), (one / 4 for one in (1, 2))):
        np.testing.assert_array_equal(holm(p), [0.5, 0.5])


# Calibration


@pytest.fixture(scope="module")
def calibration() -> Iterator[ModuleType]:
    """The benchmark of intervals and p-values; it finds its tools in its folder."""
    folder = project_root() / "benchmarks"
    spec = importlib.util.spec_from_file_location("calibration", folder / "calibration.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize(
    "name",
    ["48 articles in 4 folds, a", "11 articles", "520 small", "48 articles, 3 seeds that", "5 equal", "5 unequal"],
)
def test_intervals_cover_at_their_rate_and_p_is_uniform(calibration, name):
    (design,) = (design for key, design in calibration.DESIGNS.items() if key.startswith(name))
    found = calibration.simulate(design, 300)
    # Long simulations cover .949 to .977 (benchmarks/calibration.json); the standard error of 300 data sets is .013.
    assert 0.92 <= found.covers.mean() <= 0.99
    # Where seeds are few, p is too large by up to .06; the distance of 300 uniform numbers is below .094 in 99 %.
    assert stats.kstest(found.p, "uniform").statistic < 0.12
