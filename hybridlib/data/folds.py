"""The folds and topics of XQuAD-R: which articles a run leaves out, to be tested on them, and what they are about.

`sources/pinned/folds.csv` has a line for each of the 48 articles. Topics were assigned by hand, from the titles. Every
fold has articles of every topic, and about as many questions as another. A run on three folds is tested on the fourth,
so four runs test every article once.
"""

from functools import cache
from pathlib import Path

import pandas as pd

from hybridlib.arguments import checked

FOLDS = range(4)


@cache
def read_folds() -> pd.DataFrame:
    """Read what is known of every article.

    Returns:
        `domain` (the topic: society, places, history or science), `fold` (0 to 3) and `questions` (their number, the
        same in every language), by article.
    """
    return pd.read_csv(Path(__file__).parent / "sources" / "pinned" / "folds.csv", index_col="article")


@checked
def articles_of(fold: int, *, held_out: bool) -> list[str]:
    """List the articles of a fold, or those of the others.

    Args:
        fold: 0 to 3.
        held_out: whether to list what is in the fold, to be tested on, or what is not, to be trained on.

    Raises:
        ValueError: there is no such fold.

    >>> [len(articles_of(fold, held_out=True)) for fold in FOLDS]
    [12, 13, 11, 12]
    """
    if fold not in FOLDS:
        raise ValueError(f"fold is {fold}; allowed: 0 to 3")
    folds = read_folds()
    return folds.index[(folds.fold == fold) == held_out].tolist()
