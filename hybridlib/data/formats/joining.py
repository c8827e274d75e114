"""Tasks that are joined into one, whose pool holds the passages of all of them.

The ids of the joined task are `<name of the part>:<id>`. Parts are joined in one of two ways:

- parallel: an id names the same question, and the translations of one passage, in every part that has it. A passage
  that is relevant to a question in one part is relevant to it in all languages, so there is a cross-lingual setting.
- not parallel: ids of different parts have nothing to do with each other. Each part keeps its judgements, and passages
  of the other parts are rivals.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Annotated

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from hybridlib.arguments import Name, checked, told
from hybridlib.data.passages import Passages, content_digest, positions_of
from hybridlib.data.table import cached_table
from hybridlib.data.task import RetrievalTask, Setting

_BATCH = 100_000  # ids in memory at a time
_SCHEMA = pa.schema([("passage_id", pa.string()), ("language", pa.string()), ("text", pa.string())])
_PAIR = ["query_id", "passage_id"]


@checked
def join_tasks(parts: Annotated[Mapping[Name, RetrievalTask], Field(min_length=1)], *, parallel: bool) -> RetrievalTask:
    """Join tasks into one with a single pool; passages that are memory-mapped in a part are so in the whole.

    Args:
        parts: the tasks by name, which is a language as a rule. Their order is that of the passages and settles ties.
        parallel: whether an id of a query or of a passage names the same in all parts. A question then is the id of its
            query, and belongs to the article that the first part with this question has for it.

    Returns:
        The task, with the settings that all parts have. There is none that is cross-lingual where no relevant pair is
        in two languages.

    Raises:
        ValueError: the parts have no setting in common or other roles, some ignore identical ids and others do not, or
            a name holds a colon. Of parallel parts: they judge a pair differently, have no id in common, or ignore
            identical ids, which translations of a query do not have.

    >>> import pandas as pd
    >>> german = pd.DataFrame({"id": ["1", "2"], "language": "de", "text": ["Regen", "Sonne"]})
    >>> english = german.assign(language="en", text=["rain", "sun"])
    >>> judged = pd.DataFrame({"query_id": ["1", "2"], "passage_id": ["1", "2"], "relevance": 1})
    >>> parts = {
    ...     language: RetrievalTask(
    ...         texts.rename(columns={"id": "query_id"}), texts.rename(columns={"id": "passage_id"}), judged
    ...     )
    ...     for language, texts in {"de": german, "en": english}.items()
    ... }
    >>> task = join_tasks(parts, parallel=True)
    >>> task.qrels[task.qrels.query_id == "de:1"].passage_id.tolist()
    ['de:1', 'en:1']
    >>> join_tasks(parts, parallel=False).settings
    ('monolingual', 'multilingual')
    """
    for name in parts:
        if ":" in name:
            raise ValueError(f"parts: the name {told(name)} holds a colon; allowed: names without one")
    settings = _settings_of(parts, parallel)
    queries = pd.concat([_renamed(name, task.queries, parallel) for name, task in parts.items()])
    if parallel:
        first = queries.drop_duplicates("question").set_index("question").article
        queries = queries.assign(article=queries.question.map(first))
    qrels = _parallel_qrels(parts) if parallel else pd.concat([_renamed(n, task.qrels) for n, task in parts.items()])
    one = next(iter(parts.values()))
    return RetrievalTask(
        queries,
        _joined_passages({name: task.passages for name, task in parts.items()}),
        qrels,
        settings,
        pool=" ".join(f"{name}: {task.pool}" for name, task in parts.items() if task.pool),
        roles=one.roles,
        ignore_identical_ids=one.ignore_identical_ids,
    )


def join_languages(
    read: Callable[[str], RetrievalTask], languages: Iterable[str], parallel: bool | None
) -> RetrievalTask:
    """Read a task of each language, and join them in one pool; see `join_tasks`.

    Raises:
        ValueError: it is not said whether the languages are parallel.
    """
    if parallel is None:
        raise ValueError(
            "parallel is None; allowed for several languages: True if an id names the same question, or translations "
            "of one passage, in all of them; False if ids of different languages have nothing to do with each other"
        )
    return join_tasks({language: read(language) for language in languages}, parallel=parallel)


def _renamed(name: str, rows: pd.DataFrame, parallel: bool = False) -> pd.DataFrame:
    """Put the name of a part before the ids of a table, which questions keep where parts are parallel."""
    if parallel:
        return rows.assign(question=rows.query_id, query_id=name + ":" + rows.query_id)
    ids = rows.columns.intersection([*_PAIR, "question", "article"])
    return rows.assign(**{column: name + ":" + rows[column] for column in ids})


def _settings_of(parts: Mapping[str, RetrievalTask], parallel: bool) -> tuple[Setting, ...]:
    """Return the settings of the whole; refuse parts that do not go together."""
    tasks = [*parts.values()]
    across = parallel or any(_crosses(task) for task in tasks)
    shared = tuple(
        setting
        for setting in tasks[0].settings
        if all(setting in task.settings for task in tasks) and (across or setting != "cross-lingual")
    )
    if not shared or len({task.roles for task in tasks}) > 1:
        has = "; ".join(f"{name} has {', '.join([*task.settings, *task.roles])}" for name, task in parts.items())
        raise ValueError(f"tasks that are joined must have a setting and their roles in common: {has[:300]}")
    ignoring = {name: task.ignore_identical_ids for name, task in parts.items()}
    if len(set(ignoring.values())) > 1:
        raise ValueError(f"ignore_identical_ids is {told(ignoring)}; allowed: the same in all tasks that are joined")
    for name, task in parts.items():
        if parallel and len(task.identical):
            query = task.queries.query_id[task.identical[0, 0]]
            raise ValueError(
                f"{name} ignores the passage {told(query)} for the query of this id; allowed where parallel is False, "
                "as the translations of a query have ids of their own and would be rivals"
            )
    return shared


def _crosses(task: RetrievalTask) -> bool:
    """Tell whether a query of the task has a relevant passage in another language."""
    query, passage = task.pairs.T
    spoken = pd.Index(task.languages).get_indexer(pd.Index(task.queries.language))
    return bool((spoken[query] != task.passage_languages[passage]).any())


def _parallel_qrels(parts: Mapping[str, RetrievalTask]) -> pd.DataFrame:
    """Judge every pair of plain ids in every part in which the query is, and every part in which the passage is."""
    every = pd.concat([task.qrels.assign(part=name) for name, task in parts.items()], ignore_index=True)
    judged = every.drop_duplicates([*_PAIR, "relevance"])
    differing = judged[judged.duplicated(_PAIR, keep=False)]
    if len(differing):
        query, passage = differing.iloc[0][_PAIR]
        rows = differing[(differing.query_id == query) & (differing.passage_id == passage)].head(2)
        said = " and ".join(f"{row.relevance} in {row.part}" for row in rows.itertuples())
        raise ValueError(f"qrels: the pair of query {told(query)} and passage {told(passage)} has relevance {said}")
    names = judged.passage_id.drop_duplicates()
    asked = [pd.DataFrame({"query_id": task.queries.query_id, "asked": name}) for name, task in parts.items()]
    held = [
        pd.DataFrame({"passage_id": names[positions_of(task.passages, names) >= 0], "held": name})
        for name, task in parts.items()
    ]
    pairs = judged.merge(pd.concat(asked), on="query_id").merge(pd.concat(held), on="passage_id")
    if len(parts) > 1 and (pairs.asked == pairs.held).all():
        raise ValueError(
            f"parts {', '.join(parts)} have no id of a judged query or passage in common, as parallel ones do; "
            "allowed: parallel=False"
        )
    return pd.DataFrame(
        {
            "query_id": pairs.asked + ":" + pairs.query_id,
            "passage_id": pairs.held + ":" + pairs.passage_id,
            "relevance": pairs.relevance,
        }
    )


def _joined_passages(parts: Mapping[str, Passages]) -> Passages:
    """Put passages one after the other; they are memory-mapped if some of them are."""
    if all(isinstance(passages, pd.DataFrame) for passages in parts.values()):
        return pd.concat([_renamed(name, rows) for name, rows in parts.items() if isinstance(rows, pd.DataFrame)])
    return datasets.concatenate_datasets([_mapped(name, passages) for name, passages in parts.items()])


def _mapped(name: str, passages: Passages) -> datasets.Dataset:
    """Put the name of a part before the ids; only the ids are written anew, as the texts may be large."""
    if isinstance(passages, pd.DataFrame):
        rows = pa.Table.from_pandas(passages, preserve_index=False).cast(_SCHEMA)
        passages = datasets.Dataset(datasets.table.InMemoryTable(rows))
    ids, texts = passages.select_columns(["passage_id"]), passages.select_columns(["language", "text"])
    if texts.features.arrow_schema.types != _SCHEMA.types[1:]:
        texts = texts.cast(datasets.Features.from_arrow_schema(pa.schema([*_SCHEMA][1:])))
    named = cached_table(["joined", name, content_digest(ids)], partial(_named, name, ids))
    return datasets.concatenate_datasets([named, texts.with_format(None)], axis=1)


def _named(name: str, ids: datasets.Dataset) -> Iterator[pa.Table]:
    for rows in ids.with_format("arrow").iter(_BATCH):
        plain = pc.cast(rows.column(0), pa.string())
        yield pa.table([pc.binary_join_element_wise(name, plain, ":")], pa.schema([_SCHEMA.field(0)]))
