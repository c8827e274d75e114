"""PEER against numbers worked by hand, scipy's test and the authors' formula."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridlib.metric.measures import Rankings, parse_measure, peer


def in_languages(*lists):
    rows = [(number, rank, gain, code) for number, rows in enumerate(lists) for rank, code, gain in sorted(rows)]
    return Rankings(*np.array(rows).T)


def one_level(languages, ranks=None):
    """Make one ranking of passages of gain 1, in the order of their languages' letters."""
    ranks = ranks or range(1, 1 + len(languages))
    return in_languages([(rank, ord(code), 1) for rank, code in zip(ranks, languages, strict=True)])


def slow_peer(rows, k, weights):
    """Test level by level with scipy, which ranks the ranks anew; all beyond the cutoff are given one, so are tied."""
    total = weighted = 0
    for level in {gain for _, _, gain in rows}:
        groups = {}
        for rank, language, gain in rows:
            if gain == level:
                groups.setdefault(language, []).append(min(rank, k + 1))
        if len(groups) > 1 and max(map(len, groups.values())) == 1:
            continue
        some = any(rank <= k for ranks in groups.values() for rank in ranks)
        p = scipy.stats.kruskal(*groups.values()).pvalue if len(groups) > 1 and some else 1
        total, weighted = total + weights[level], weighted + weights[level] * p
    return weighted / total if total else math.nan


def authors_p(samples, k):
    """Test as the authors do: they take ranks in the whole list, and tie what is beyond the cutoff behind N ranks."""
    size = sum(map(len, samples))
    beyond = sum(rank > k for ranks in samples for rank in ranks)
    samples = [[rank if rank <= k else size + (beyond + 1) / 2 for rank in ranks] for ranks in samples]
    everything = np.concatenate(samples)
    between = sum(len(ranks) * (np.mean(ranks) - everything.mean()) ** 2 for ranks in samples)
    h = (size - 1) * between / ((everything - everything.mean()) ** 2).sum()
    return scipy.stats.chi2.sf(h, len(samples) - 1)


PASSAGES = st.tuples(st.integers(1, 40), st.integers(0, 4), st.integers(1, 3))


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    lists=st.lists(st.lists(PASSAGES, min_size=1, max_size=17, unique_by=lambda row: row[0]), min_size=1, max_size=7),
    k=st.sampled_from([None, 1, 5, 20]),
    weights=st.sampled_from([None, {1: 1, 2: 1, 3: 2.5}, {1: 0, 2: 3, 3: 0}]),
)
def test_peer_is_scipys_test_of_every_ranking_and_level(lists, k, weights):
    values = peer(in_languages(*lists), k, weights=weights)
    expected = [slow_peer(rows, k or math.inf, weights or dict.fromkeys((1, 2, 3), 1)) for rows in lists]
    np.testing.assert_allclose(values, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("languages", "ranks", "cutoffs", "expected"),
    [
        # Places 1, 2 against 3, 4: means 1.5 and 3.5 about 2.5, so H = 3 (2 + 2) / (2.25 + 0.25 + 0.25 + 2.25) = 2.4.
        # For two languages, P(chi-squared with one degree of freedom > H) = erfc(sqrt(H / 2)).
        ("aabb", None, ["peer"], math.erfc(math.sqrt(1.2))),
        # The last two are beyond a cutoff of 8 and share the place 3.5, so that the sum in the denominator is
        # 2.25 + 0.25 + 1 + 1, and H = 3 x 4 / 4.5 = 8 / 3.
        ("aabb", [1, 7, 9, 30], ["peer@8"], math.erfc(math.sqrt(4 / 3))),
        # Three languages, places (1, 4), 2, 3: all means are 2.5 or half a rank off, H = 3 (0 + 0.25 + 0.25) / 5 = 0.3.
        # With two degrees of freedom the probability is exp(-H / 2).
        ("abca", None, ["peer"], math.exp(-0.15)),
        # It is 1 for one language and where nothing is retrieved.
        ("aaa", None, ["peer"], 1),
        ("a", None, ["peer"], 1),
        ("aab", [5, 6, 7], ["peer@4"], 1),
        # With one passage in each language it is undefined, whatever is retrieved.
        ("cab", [2, 3, 4], ["peer", "peer@1", "peer@2"], math.nan),
    ],
)
def test_peer_by_hand(languages, ranks, cutoffs, expected):
    for name in cutoffs:
        assert parse_measure(name)(one_level(languages, ranks)) == pytest.approx([expected], nan_ok=True)


def test_a_fairer_ranking_has_more_peer():
    sorted_, uneven, mixed = (float(peer(one_level(languages))[0]) for languages in ("aaabbb", "aabbab", "abbaab"))
    assert sorted_ < uneven < mixed


def test_peer_is_the_authors_where_passages_lie_evenly_within_the_cutoff():
    # H does not change if all ranks are multiplied by 3 and 2 is subtracted.
    for languages in ("aabb", "abacbca", "ababab"):
        ranks = [3 * place - 2 for place in range(1, len(languages) + 1)]
        samples = [[r for r, code in zip(ranks, languages, strict=True) if code == one] for one in sorted({*languages})]
        for k in (ranks[-1], 1000):
            assert peer(one_level(languages, ranks), k) == pytest.approx([authors_p(samples, k)])


def test_peer_takes_places_among_the_relevant_where_the_authors_take_ranks():
    # a at 10 and 11, b at 12 and beyond the cutoff of 50. Theirs puts the last at 4 + 1, before all the others; here it
    # is behind them, as in "aabb".
    ours, theirs = peer(one_level("aabb", [10, 11, 12, 60]), 50), authors_p([[10, 11], [12, 60]], 50)
    assert ours == pytest.approx(peer(one_level("aabb")))
    # Ranks 10, 11 | 12, 5 about 9.5: between 2 x 1 + 2 x 1, in all 0.25 + 2.25 + 6.25 + 20.25 = 29: H = 12 / 29.
    assert theirs == pytest.approx(math.erfc(math.sqrt(6 / 29)))


def test_peer_weighs_the_levels_that_say_something():
    first = [(1, 0, 1), (2, 0, 1), (5, 1, 1), (9, 1, 1)]  # aabb
    second = [(3, 0, 2), (4, 1, 2), (6, 0, 2)]  # aba: means 2 and 2, H = 0 and p = 1
    undefined = [(7, 0, 3), (8, 1, 3)]
    p = math.erfc(math.sqrt(1.2))
    rankings = in_languages(first + second + undefined)
    assert peer(rankings) == pytest.approx([(p + 1) / 2])
    assert peer(rankings, weights={1: 0.25, 2: 0.5, 3: 0.25}) == pytest.approx([(p + 2) / 3])
    assert peer(rankings, weights={1: 7}) == pytest.approx([p])
    assert np.isnan(peer(rankings, weights={3: 1})).all()
    assert np.isnan(peer(rankings, weights={})).all()


def test_without_language_bias_peer_is_even_and_with_it_near_zero():
    # 4,000 rankings of 10 passages in each of 3 languages, in random order. Shares of p under x are within 4 standard
    # errors, sqrt(x (1 - x) / 4000), and the 0.01 that the chi-squared approximation is known to be off at this size.
    rng, size = np.random.default_rng(0), 4000
    ranking, rank = np.repeat(np.arange(size), 30), np.tile(np.arange(1, 31), size)
    language = rng.permuted(np.tile(np.repeat([0, 1, 2], 10), (size, 1)), axis=1).ravel()
    p = peer(Rankings(ranking, rank, np.ones(len(rank)), language))
    for x in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert abs((p < x).mean() - x) < 4 * math.sqrt(x * (1 - x) / size) + 0.01
    biased = peer(Rankings(ranking, rank, np.ones(len(rank)), np.tile(np.repeat([0, 1, 2], 10), size)))
    assert (biased < 1e-5).all()


def test_peer_refuses_rankings_without_languages_and_negative_weights():
    with pytest.raises(ValueError, match="rankings have no language; peer needs that of each relevant passage"):
        peer(Rankings(np.zeros(2, int), np.array([1, 2]), np.ones(2)))
    with pytest.raises(ValueError, match=r"weights are \{1: 1, 2: -0.5\}; allowed: 0 or more"):
        peer(one_level("ab"), weights={1: 1, 2: -0.5})
