"""A table of pairs as a retrieval task: a row for each item in a language, with a question and its passage."""

import datasets
import pandas as pd

from hybridlib.arguments import Names, checked, told
from hybridlib.data.checks import check_languages
from hybridlib.data.corpus import connected_groups
from hybridlib.data.formats.parallel.pairs import NEEDED, OPTIONAL, check_items, part_of_table, parts_of, read_pairs
from hybridlib.data.formats.parallel.read import Pairs
from hybridlib.data.formats.parallel.rows import table_of
from hybridlib.data.task import RetrievalTask, task_from_pairs


@checked
def from_dataset(source: Pairs, *, languages: Names | None = None) -> RetrievalTask:
    """Make a task of parallel questions and passages, such as `read_parallel` reads to train on.

    The columns are those of `read_parallel`. The passage of an item is relevant to its question in every language. It
    is also relevant to the questions of other items, with its translations, where `passage_group` says so or where
    they have the same passage, letter for letter, in a language. Equal passages of a language are one passage.

    Args:
        source: a `datasets.Dataset` or a DataFrame, or files as `read_parallel` takes them; it is read into memory.
        languages: those to take, in any order; all of them unless given.

    Returns:
        The task. Ids are `<language>:<item>`; that of a passage has the first of its items.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no table, a column is missing, a value is empty or of another type, an item comes twice in a
            language or has two passage groups, or no item is left. The message names the row, as `read_parallel` does.

    >>> rows = {"item": ["a", "a", "b"], "language": ["en", "sw", "en"], "query": ["when?", "lini?", "who?"]}
    >>> task = from_dataset(pd.DataFrame({**rows, "passage": ["at six", "saa kumi na mbili", "Ada"]}))
    >>> task.qrels[task.qrels.query_id == "sw:a"].passage_id.tolist()
    ['en:a', 'sw:a']
    """
    if isinstance(source, pd.DataFrame | datasets.Dataset):
        parts, name = [part_of_table(table_of(source, (*NEEDED, *OPTIONAL), "source"))], "pairs"
    else:
        parts, name = parts_of(source)
    rows = pd.DataFrame([pair for _, _, pair in read_pairs(parts, name)])
    if rows.empty:
        raise ValueError(
            f"source is {told(source)}, without a row that has a query and a passage; allowed: at least one"
        )
    numbers = {column: pd.factorize(rows[column])[0] for column in ("item", "language", "passage_group")}
    check_items(parts, name, numbers, numbers["item"])
    chosen = check_languages(languages, sorted(rows.language.unique()), "source")
    named = rows[rows.passage_group != ""]
    # No language is empty or holds white space, so the text of a passage is never taken for the name of a group.
    shared = pd.concat([rows.language + " " + rows.passage, " " + named.passage_group])
    groups = connected_groups(pd.concat([rows["item"], named["item"]]), shared)
    rows["passage_group"] = rows["item"].map(groups)
    return task_from_pairs(rows[rows.language.isin(chosen)])
