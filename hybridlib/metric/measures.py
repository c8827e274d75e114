"""Measures of retrieval quality, each a function of the ranks of the relevant passages of a query.

A *ranking* is a query in one setting and pool. Its relevant passages come as rows of (ranking, rank, gain), sorted by
ranking and then by rank. A passage that is not among them is not relevant, so ranks are all there is to know. A ranking
without a relevant passage does not appear and takes no part in any mean. Definitions are those of trec_eval (average
precision, nDCG with gains as judged, reciprocal rank cut at k). A measure returns one value for each ranking, (R,).

Measures of language bias compare passages of several languages, so they exist in the multilingual setting only. They
refuse rankings that lack what they need (ValueError). Where a measure is undefined for a question, its value is NaN,
which takes no part in any mean; it may be so for all questions of a task.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import chdtrc

from hybridlib.arguments import checked, told
from hybridlib.metric.rankings import Rankings

DEFAULT_MEASURES = ("map", "ndcg@10", "recall@1", "recall@10", "recall@100", "rr@10", "rank_distance")


def average_precision(rankings: Rankings) -> np.ndarray:
    """Return the mean, over the relevant passages, of the precision at their rank.

    >>> average_precision(Rankings(np.array([0, 0]), np.array([1, 4]), np.array([1, 1])))  # (1/1 + 2/4) / 2
    array([0.75])
    """
    return rankings.total(rankings.place / rankings.rank) / rankings.relevant


def ndcg(rankings: Rankings, k: int) -> np.ndarray:
    """Return the discounted gain of the first k passages, over the best possible (Järvelin and Kekäläinen, 2002).

    >>> ndcg(Rankings(np.array([0]), np.array([3]), np.array([1])), k=10)  # 1 / log2(1 + 3)
    array([0.5])
    """
    gained = rankings.total(np.where(rankings.rank <= k, rankings.gain / np.log2(rankings.rank + 1), 0))
    by_gain = np.lexsort((-rankings.gain, rankings.ranking))
    ideal = rankings.total(np.where(rankings.place <= k, rankings.gain[by_gain] / np.log2(rankings.place + 1), 0))
    return gained / ideal


def recall(rankings: Rankings, k: int) -> np.ndarray:
    """Return the share of the relevant passages that are among the first k."""
    return rankings.total(rankings.rank <= k) / rankings.relevant


def reciprocal_rank(rankings: Rankings, k: int) -> np.ndarray:
    """Return 1 / rank of the first relevant passage, 0 if it is not among the first k."""
    best = rankings.rank[rankings.place == 1]
    return np.where(best <= k, 1 / best, 0.0)


def rank_distance(rankings: Rankings) -> np.ndarray:
    """Return the distance in ranks between the first and the last relevant passage.

    It is the paper's measure of language bias (arXiv 2408.10536, section 4.4). In a pool of all languages, an encoder
    without language bias ranks the same passage alike in each language, so the distance is small.

    >>> rank_distance(Rankings(np.array([0, 0, 0]), np.array([2, 3, 9]), np.array([1, 1, 1])))
    array([7.])
    """
    last = np.cumsum(rankings.relevant) - 1
    return (rankings.rank[last] - rankings.rank[rankings.place == 1]).astype(float)


def preference(rankings: Rankings) -> np.ndarray:
    """Return the probability that a relevant passage of the question's language stands above one of another language.

    It is the share of such pairs of passages of the question. At .5 there is no preference for the question's language,
    at 1 it always comes first. Unlike the rank distance, it does not grow as passages are found later. It is NaN for a
    question without a relevant passage of its own language, or without one of another.

    >>> ranks, own = np.array([2, 3, 9]), np.array([False, True, False])
    >>> preference(Rankings(np.zeros(3, int), ranks, np.ones(3), own=own))  # above the passage at 9, below that at 2
    array([0.5])
    """
    own = _known(rankings.own, "own", "preference")
    first = np.cumsum(rankings.relevant) - rankings.relevant
    before = np.cumsum(own) - own  # passages of the question's language above each, and in the rankings before
    others_above = rankings.place - 1 - (before - before[first[rankings.ranking]])
    inner, outer = rankings.total(own), rankings.total(~own)
    above = inner * outer - rankings.total(np.where(own, others_above, 0))
    return np.divide(above, inner * outer, out=np.full(len(above), np.nan), where=inner * outer > 0)


def lpr(rankings: Rankings) -> np.ndarray:
    """Return 1 if the first of a question's relevant passages is in the question's language, else 0.

    Its mean is the Language Preference Rate of MLAIRE (arXiv 2605.07249), as its abstract describes it: where parallel
    passages are relevant, how often the one in the question's language comes first. NaN is as in `preference`.
    """
    own = _known(rankings.own, "own", "lpr")
    told = (rankings.total(own) > 0) & (rankings.total(~own) > 0)
    return np.where(told, own[rankings.place == 1], np.nan)


def complete(rankings: Rankings, k: int) -> np.ndarray:
    """Return 1 if each language in which the question has a relevant passage has one among the first k, else 0."""
    language = _known(rankings.language, "language", "complete")
    size = language.max(initial=0) + 1
    group, first = np.unique(rankings.ranking * size + language, return_index=True)  # the first has the least rank
    missing = np.bincount(group // size, weights=rankings.rank[first] > k, minlength=len(rankings.relevant))
    return (missing == 0).astype(float)


def peer(rankings: Rankings, k: int | None = None, *, weights: Mapping[float, float] | None = None) -> np.ndarray:
    """Return the Probability of Equal Expected Rank (Yang, Jänich, Mayfield and Lawrie, SIGIR 2024, arXiv 2405.00978).

    The value is the p-value of a Kruskal-Wallis test that the relevant passages of each language are ranked alike. It
    is near 0 where some languages are ranked above others. Each level of relevance has its own test, and the value is
    their weighted mean.

    As in `scipy.stats.kruskal`, a passage's rank is its place among those of its level, and those beyond the cutoff
    share the mean of the last places. The authors' program differs in two ways. It tests ranks in the whole list, where
    a passage far down outweighs all others. And it ties the passages beyond the cutoff at 3 N / 2 or less, with N
    passages in the level, above some that were retrieved. The two agree where the passages of a level lie at even
    distances within the cutoff.

    Some tests are undefined. With one language only, or nothing retrieved, p is 1, as theirs is. Where each of several
    languages has one passage, the statistic is N - 1 whatever the order, so the test says nothing. Such a level takes
    no part, and a ranking without another level is NaN. In a task that is parallel throughout, like XQuAD-R, all are.

    Args:
        rankings: rankings with the language of each passage.
        k: how many passages are retrieved; all unless given.
        weights: weight of each level of relevance, 0 for a level not among them; all levels alike unless given.

    Raises:
        ValueError: a weight is negative.

    >>> ranks, languages = np.array([1, 2, 3, 4]), np.array([0, 0, 1, 1])
    >>> peer(Rankings(np.zeros(4, int), ranks, np.ones(4), languages)).round(4)  # H is 2.4
    array([0.1213])
    """
    language = _known(rankings.language, "language", "peer")
    if weights is not None and min(weights.values(), default=0) < 0:
        raise ValueError(f"weights are {dict(weights)}; allowed: 0 or more")
    levels, level = np.unique(rankings.gain, return_inverse=True)
    test, number = np.unique(rankings.ranking * len(levels) + level, return_inverse=True)  # (T,), (N,)
    order = np.argsort(number, kind="stable")  # within a test, still by rank
    p = _equal_rank(Rankings(*(values[order] for values in (number, rankings.rank, level, language))), k)
    ranking, level = np.divmod(test, len(levels))  # (T,), (T,)
    of_level = np.array([1.0 if weights is None else weights.get(gain, 0.0) for gain in levels.tolist()])
    weight, size = np.where(np.isnan(p), 0.0, of_level[level]), len(rankings.relevant)
    total = np.bincount(ranking, weights=weight, minlength=size)
    mean = np.bincount(ranking, weights=weight * np.nan_to_num(p), minlength=size)
    return np.divide(mean, total, out=np.full(size, np.nan), where=total > 0)


def _equal_rank(tests: Rankings, k: int | None) -> np.ndarray:
    """Return p of a Kruskal-Wallis test of the languages in each ranking, NaN where no order changes it. (T,)"""
    assert tests.language is not None
    retrieved = np.full(len(tests.rank), True) if k is None else tests.rank <= k
    last = (tests.total(retrieved) + 1 + tests.relevant) / 2  # mean of the places that are left
    middle = (tests.relevant + 1) / 2
    deviation = np.where(retrieved, tests.place, last[tests.ranking]) - middle[tests.ranking]  # (N,)
    languages = tests.language.max(initial=0) + 1
    group, member = np.unique(tests.ranking * languages + tests.language, return_inverse=True)  # (G,), (N,)
    test = group // languages
    between = np.bincount(test, weights=np.bincount(member, weights=deviation) ** 2 / np.bincount(member))
    groups, within = np.bincount(test), tests.total(deviation**2)
    h = (tests.relevant - 1) * np.divide(between, within, out=np.zeros(len(within)), where=within > 0)
    p = np.where(groups == 1, 1.0, chdtrc(groups - 1, h))  # with nothing retrieved, h is 0 and p is 1
    return np.where((groups == tests.relevant) & (groups > 1), np.nan, p)


def _known(values: np.ndarray | None, name: str, measure: str) -> np.ndarray:
    if values is None:
        raise ValueError(f"rankings have no {name}; {measure} needs that of each relevant passage")
    return values


_WITHOUT_CUTOFF: dict[str, Callable[[Rankings], np.ndarray]] = {
    "map": average_precision,
    "rank_distance": rank_distance,
    "peer": peer,
    "preference": preference,
    "lpr": lpr,
}
_WITH_CUTOFF = {"ndcg": ndcg, "recall": recall, "rr": reciprocal_rank, "peer": peer, "complete": complete}
_MULTILINGUAL = ("rank_distance", "peer", "preference", "lpr", "complete")
# Why a measure may have no value for any question of a task.
_UNDEFINED = {
    "peer": "in a parallel task each language has one relevant passage, so that no order differs from another"
}
_UNDEFINED |= dict.fromkeys(["preference", "lpr"], "none has a relevant passage in its own language and in another")


# What other libraries and papers call them, in small letters; some have the same value as ours for one passage alone.
_ELSEWHERE = dict.fromkeys(["mrr", "recip_rank", "mean_reciprocal_rank"], "rr") | {"ndcg_cut": "ndcg", "r": "recall"}
_ELSEWHERE |= dict.fromkeys(["ap", "average_precision", "mean_average_precision"], "map")
_AT_ONE = dict.fromkeys(["p", "precision", "success", "hit", "hits", "hit_rate", "acc", "accuracy"], "rr")


@checked
def parse_measure(name: str) -> Callable[[Rankings], np.ndarray]:
    """Return the function that a measure's name stands for.

    Names are `map`, `rank_distance`, `peer`, `preference`, `lpr`, and `ndcg@k`, `recall@k`, `rr@k`, `peer@k` and
    `complete@k`.

    Raises:
        ValueError: there is no such measure; if it is one of ours by another name, the message says which.
    """
    if name in _WITHOUT_CUTOFF:
        return _WITHOUT_CUTOFF[name]
    match = re.fullmatch(rf"({'|'.join(_WITH_CUTOFF)})@([1-9][0-9]{{0,8}})", name)
    if match is None:
        with_cutoff = ", ".join(f"{measure}@k" for measure in _WITH_CUTOFF)
        allowed = f"{', '.join(_WITHOUT_CUTOFF)}, and {with_cutoff} for a whole number k, as in ndcg@10"
        raise ValueError(f"measure is {told(name)}; allowed: {allowed}{_meant(name)}")
    function, k = _WITH_CUTOFF[match[1]], int(match[2])
    return lambda rankings: function(rankings, k)


def _meant(name: str) -> str:
    """Say which measure is meant by a name that other libraries have for it; empty where none is known.

    >>> _meant("NDCG_cut_10"), _meant("mrr@10"), _meant("loss")
    ('. Is ndcg@10 meant?', '. Is rr@10 meant?', '')
    """
    match = re.fullmatch(r"([a-z_]+?)[@_.]?0*([0-9]{0,9})", name.strip().lower())
    if match is None:
        return ""
    known = _ELSEWHERE | (_AT_ONE if match[2] == "1" else {})
    ours = known.get(match[1], match[1])
    if ours in _WITH_CUTOFF and (match[2] or ours not in _WITHOUT_CUTOFF):
        ours += f"@{match[2] or 10}"
    elif ours not in _WITHOUT_CUTOFF:
        return ""
    return f". Is {ours} meant?"


def is_multilingual(name: str) -> bool:
    """Return whether a measure exists in the multilingual setting only."""
    return name.partition("@")[0] in _MULTILINGUAL


def why_undefined(name: str) -> str:
    """Say why a measure may be undefined for every question of a task; empty for one that never is."""
    return _UNDEFINED.get(name.partition("@")[0], "")
