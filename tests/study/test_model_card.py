"""Model cards: what they say, that the hub can read them, and that saving and publishing are as users know them."""

import ast
import copy
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mteb
import pandas as pd
import pytest
import sentence_transformers.base.model
import yaml
from huggingface_hub import EvalResult, ModelCard
from hybridlib.study.card import describe, describe_run
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from sentence_transformers import SentenceTransformer
from test_runs import RUN
from tiny_bert import tiny_bert

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.load import load_corpus, load_task
from hybridlib.data.sources.source import Source
from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.evaluate import evaluate
from hybridlib.names import CODE_SWITCH, SETTINGS, STRATEGIES
from hybridlib.study import card as model_card
from hybridlib.study.report.results import summarize
from hybridlib.training.fine_tune import fine_tune
from hybridlib.training.starts import load_encoder

pytestmark = pytest.mark.usefixtures("quickly")

MEASURES = ["map", "ndcg@10", "rank_distance"]
TRAINED = {
    "corpus": "atlas",
    "task": "atlas",
    "encoder": "static:scratch",
    "strategy": "hybrid",
    "alpha": 0.25,
    "steps": 3,
}


@pytest.fixture(scope="module")
def corpus() -> ParallelCorpus:
    return load_corpus("atlas", languages=["de", "en", "sw"], items={"money": 40}, available={"sw": 0.5})


@pytest.fixture(scope="module")
def task() -> RetrievalTask:
    """The first 40 questions of the atlas in three languages, and the passages that answer them."""
    whole = load_task("atlas", languages=["en", "fi", "sw"])
    queries = whole.queries[whole.queries.question.isin(whole.queries.question.unique()[:40])]
    qrels = whole.qrels[whole.qrels.query_id.isin(queries.query_id)]
    return RetrievalTask(queries, whole.passages[whole.passages.passage_id.isin(qrels.passage_id)], qrels)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    encoder = tiny_bert(tmp_path_factory.mktemp("bert"))
    encoder.prompts = {"query": "Query: ", "document": "Passage: "}
    return encoder


@pytest.fixture(scope="module")
def results(start: SentenceTransformer, task: RetrievalTask) -> pd.DataFrame:
    return evaluate(start, task, measures=MEASURES)


@pytest.fixture
def encoder(start: SentenceTransformer) -> SentenceTransformer:
    return copy.deepcopy(start)


def card_of(encoder: SentenceTransformer, folder: Path) -> ModelCard:
    encoder.save_pretrained(str(folder))
    return ModelCard.load(folder / "README.md")


@pytest.fixture(scope="module")
def card(start, corpus, results, tmp_path_factory) -> ModelCard:
    encoder = fine_tune(start, corpus, steps=1, batch_size=8, progress=False)
    half = results.assign(value=results.value / 2)
    described = describe(encoder, corpus, TRAINED, licence="apache-2.0", results=results, baseline=half)
    assert described is encoder
    return card_of(described, tmp_path_factory.mktemp("saved"))


def snippet_of(card: ModelCard) -> str:
    return re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)[0]


def rows(card: ModelCard) -> dict[tuple[str, str], list[str]]:
    """The results table as a reader sees it: cells by setting and encoder."""
    lines = [line for line in card.text.splitlines() if line.startswith(tuple(f"| {name}" for name in SETTINGS))]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return {(setting, encoder): values for setting, encoder, *values in cells}


# --- front matter


def test_the_front_matter_is_what_the_hub_reads(card):
    front = yaml.safe_load(card.content.split("---")[1])
    assert front["language"] == ["de", "en", "sw"]
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "sentence-transformers"
    assert front["pipeline_tag"] == "sentence-similarity"
    assert {"sentence-transformers", "information-retrieval", "multilingual"} <= set(front["tags"])
    assert front["metrics"] == MEASURES
    assert "base_model" not in front  # static:scratch is not on the hub


def test_the_hub_reads_every_defined_mean_of_the_results(card, results):
    means = summarize(results)
    read = {(r.dataset_config, r.metric_type): r for r in card.data.eval_results}
    assert len(read) == 7  # two measures in three settings, and rank distance in one
    for (setting, measure), result in read.items():
        assert isinstance(result, EvalResult) and result.dataset_type == "atlas"
        assert result.metric_value == round(means.loc[setting, measure], 4)


def test_a_card_without_results_says_so_and_has_none(encoder, corpus, tmp_path):
    card = card_of(describe(encoder, corpus, {"corpus": "atlas", "strategy": "x-y"}, licence="mit"), tmp_path)
    assert card.data.license == "mit"
    assert "Not evaluated." in card.text
    assert "model-index" not in card.content and not card.data.eval_results


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sentence-transformers/LaBSE", ("sentence-transformers/LaBSE", None)),
        ("sentence-transformers/LaBSE@836121a0", ("sentence-transformers/LaBSE", "836121a0")),
        ("tests/tiny_bert.py", (None, None)),  # exists here, so it is no id
        ("./runs", (None, None)),
        ("static:aligned", (None, None)),
    ],
)
def test_what_it_started_from_is_the_base_model_if_it_is_on_the_hub(encoder, corpus, name, expected):
    describe(encoder, corpus, {**TRAINED, "encoder": name}, licence="mit")
    assert (encoder.model_card_data.base_model, encoder.model_card_data.base_model_revision) == expected


# --- text


def test_the_results_table_holds_the_means_of_both_encoders(card, results):
    means = summarize(results)
    table = rows(card)
    assert [key[0] for key in table] == [name for name in SETTINGS for _ in range(2)]
    assert table["monolingual", "this one"] == [f"{means.loc['monolingual', m]:.4f}" for m in MEASURES[:2]] + ["–"]
    assert table["multilingual", "before"][0] == f"{means.loc['multilingual', 'map'] / 2:.4f}"
    assert table["multilingual", "this one"][2] == f"{means.loc['multilingual', 'rank_distance']:.1f}"
    questions, queries = results.question.nunique(), results.query_id.nunique()
    assert f"{questions} questions, asked {queries} times in 3 languages (en, fi, sw)" in card.text
    assert "Of rank_distance, less is better" in card.text


def test_the_card_says_how_and_on_what_it_was_trained(card):
    assert "with probability 0.25 a batch is monolingual" in card.text
    assert "# static:scratch trained on atlas with hybrid batches (alpha 0.25)" in card.text
    assert "de 40, en 40, sw 20." in card.text
    assert "| alpha | 0.25 |" in card.text and "| steps | 3 |" in card.text


def test_the_card_admits_what_is_not_known(card):
    limits = card.text.partition("## Limits")[2].partition("##")[0]
    assert "not for use" in limits  # atlas
    assert "Trained in de, en, sw only" in limits
    assert "The results in fi are zero-shot" in limits
    assert "one training run" in limits
    assert "cut after 64 tokens" in limits


def test_the_card_cites_the_paper_and_sentence_transformers(card):
    assert len(re.findall(r"^@", card.text, flags=re.MULTILINE)) == 2
    assert "2408.10536" in card.text and "reimers-2019-sentence-bert" in card.text


def test_nothing_of_the_template_is_left_over(card):
    assert not re.search(r"\{[{%]|[%}]\}|None|\n\n\n", card.text)


@pytest.mark.parametrize("strategy", [*STRATEGIES, CODE_SWITCH])
def test_every_strategy_has_its_sentence(encoder, corpus, strategy):
    describe(encoder, corpus, {**TRAINED, "strategy": strategy}, licence="mit")
    sentence = encoder.model_card_data.facts["strategy"]
    assert sentence.endswith(".") and "{" not in sentence


def test_the_usage_snippet_runs_and_gives_the_numbers_it_shows(encoder, corpus, tmp_path, capsys):
    snippet = snippet_of(card_of(describe(encoder, corpus, TRAINED, licence="mit"), tmp_path))
    exec(snippet.replace("sentence_transformers_model_id", str(tmp_path)), {})
    shown = re.findall(r"tensor\(.*", snippet)
    assert shown and shown[0] in capsys.readouterr().out


def test_the_usage_snippet_asks_in_one_language_and_answers_in_another(card, corpus):
    query, passage, *others = (
        text.value for node in ast.walk(ast.parse(snippet_of(card))) if isinstance(node, ast.List) for text in node.elts
    )
    table = corpus.table.to_pandas()
    asked = table[table["query"] == query].iloc[0]
    answer = table[table.passage == passage].iloc[0]
    assert asked["item"] == answer["item"] and asked.language != answer.language and len(others) == 2
    for other in others:
        row = table[table.passage == other].iloc[0]
        assert row.language == answer.language and row.passage_group != answer.passage_group


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ({"query": "Query: ", "document": "Passage: "}, "`encode_query` puts `Query: ` before a question"),
        ({"query": "", "document": ""}, "No prompts are needed."),
    ],
)
def test_the_card_explains_the_prompts(encoder, corpus, tmp_path, prompts, expected):
    encoder.prompts = prompts
    assert expected in card_of(describe(encoder, corpus, TRAINED, licence="mit"), tmp_path).text


def test_data_from_outside_is_shown_with_its_licence_and_citation(encoder, corpus, monkeypatch, tmp_path):
    source = Source("xquad-r", "XQuAD with answers retrieved", "https://x.test", "1", "CC BY-SA 4.0.", "@a{lareqa}", ())
    monkeypatch.setitem(model_card.SOURCES, "xquad-r", source)
    trained = {**TRAINED, "corpus": "xquad-r", "task": "xquad-r"}
    text = card_of(describe(encoder, corpus, trained, licence="cc-by-sa-4.0"), tmp_path).text
    assert "`xquad-r`: XQuAD with answers retrieved ([homepage](https://x.test))." in text
    assert "Licence of the data: CC BY-SA 4.0. " in text
    assert text.count("@a{lareqa}") == 1
    assert "not for use" not in text


def test_a_card_of_a_run_says_what_the_run_is(encoder, tmp_path):
    text = card_of(describe_run(encoder, RUN, licence="mit"), tmp_path).text
    assert "| available | sw 0.2 |" in text and "| language_temperature | uniform |" in text
    assert "| batch_size | 20 |" in text and "| items |" not in text


# --- saving and publishing


def test_an_encoder_that_came_with_a_card_is_saved_with_its_new_one(encoder, corpus, tmp_path):
    encoder.save_pretrained(str(tmp_path / "old"))
    (tmp_path / "old/README.md").write_text("The old card.")
    loaded = SentenceTransformer(str(tmp_path / "old"), device="cpu")
    text = card_of(describe(loaded, corpus, TRAINED, licence="mit"), tmp_path / "new").text
    assert "The old card" not in text and "hybrid batches" in text


def test_a_saved_encoder_keeps_its_card_when_it_is_loaded_and_saved_again(encoder, corpus, tmp_path):
    text = card_of(describe(encoder, corpus, TRAINED, licence="mit"), tmp_path / "once").text
    again = SentenceTransformer(str(tmp_path / "once"), device="cpu")
    assert card_of(again, tmp_path / "twice").text == text


class Hub:
    """Stands for `huggingface_hub.HfApi`: keeps what is uploaded."""

    uploaded: dict[str, str | None]

    def __init__(self, token: str | None = None) -> None:
        pass

    def create_repo(self, repo_id: str, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(repo_id=f"someone/{repo_id}")

    def upload_folder(self, folder_path: str, **options: Any) -> SimpleNamespace:
        files = [path for path in Path(folder_path).rglob("*") if path.is_file()]
        type(self).uploaded = {path.name: path.read_text() if path.suffix == ".md" else None for path in files}
        return SimpleNamespace(commit_url="https://hub.test/commit")


@pytest.mark.parametrize("kind", ["bert", "static"])
def test_push_to_hub_uploads_the_card_and_safe_weights(encoder, corpus, monkeypatch, kind):
    if kind == "static":
        encoder = load_encoder("static", corpus=corpus)
    monkeypatch.setattr(sentence_transformers.base.model, "HfApi", Hub)
    monkeypatch.setattr(sentence_transformers.base.model, "load_file_path", lambda *names, **options: None)
    describe(encoder, corpus, TRAINED, licence="mit").push_to_hub("my-encoder")
    text = Hub.uploaded["README.md"]
    assert text and "hybrid batches (alpha 0.25)" in text
    assert 'SentenceTransformer("someone/my-encoder")' in text
    assert {"modules.json", "model.safetensors", "config_sentence_transformers.json"} <= set(Hub.uploaded)
    assert not [name for name in Hub.uploaded if name.endswith((".bin", ".pt", ".pkl", ".pickle", ".py"))]


# --- MTEB


class Offline(AbsTaskRetrieval):
    """The task of these tests as MTEB has it: the passages of all languages in one pool."""

    metadata = TaskMetadata(
        name="Offline",
        description="Questions and passages of the atlas.",
        dataset={"path": "none/none", "revision": "1"},
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
    )
    task: RetrievalTask

    def load_data(self, *args: Any, **options: Any) -> None:
        queries, passages, qrels = self.task.queries, self.task.passages, self.task.qrels
        self.queries = {"test": {str(i): text for i, text in zip(queries.query_id, queries.text, strict=True)}}
        texts = zip(passages.passage_id, passages.text, strict=True)
        self.corpus = {"test": {str(i): {"text": text} for i, text in texts}}
        relevant: dict[str, dict[str, int]] = {}
        for row in qrels.itertuples():
            relevant.setdefault(str(row.query_id), {})[str(row.passage_id)] = int(row.relevance)
        self.relevant_docs = {"test": relevant}
        self.data_loaded = True


def test_mteb_gives_a_saved_encoder_the_ndcg_that_we_give_it(corpus, task, tmp_path, monkeypatch):
    # Not the BERT: it cuts texts after 64 letters, so that many of its scores are equal, and MTEB has no rule for ties.
    encoder = load_encoder("static", corpus=corpus)
    encoder.prompts = {"query": "Query: ", "document": "Passage: "}
    describe(encoder, corpus, TRAINED, licence="mit").save_pretrained(str(tmp_path / "saved"))
    loaded = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    monkeypatch.setattr(Offline, "task", task, raising=False)
    ours = evaluate(loaded, task, measures=["ndcg@10"])
    expected = ours[ours.setting == "multilingual"].value.mean()
    found = mteb.evaluate(loaded, Offline(), cache=None, co2_tracker=False, show_progress_bar=False)
    assert 0.01 < expected < 0.99
    assert found[0].scores["test"][0]["ndcg_at_10"] == pytest.approx(expected, abs=1e-5)  # it rounds to five decimals
    loaded.prompts = {"query": "", "document": ""}
    without = evaluate(loaded, task, measures=["ndcg@10"])  # were the prompts left out by either, it would show
    assert abs(without[without.setting == "multilingual"].value.mean() - expected) > 1e-4


# --- arguments


@pytest.mark.parametrize("missing", ["corpus", "strategy", "alpha", "task"])
def test_what_the_card_cannot_do_without_must_be_given(encoder, corpus, results, missing):
    trained = {name: value for name, value in TRAINED.items() if name != missing}
    with pytest.raises(ValueError, match=f"trained lacks '{missing}'; it has "):
        describe(encoder, corpus, trained, licence="mit", results=results)


def test_an_unknown_strategy_is_refused(encoder, corpus):
    with pytest.raises(ValueError, match="strategy is 'mixed'; allowed: en-en, x-x"):
        describe(encoder, corpus, {**TRAINED, "strategy": "mixed"}, licence="mit")


def test_results_of_several_runs_are_refused(encoder, corpus, results):
    with pytest.raises(ValueError, match="results has the column 'seed'; expected the results of one run"):
        describe(encoder, corpus, TRAINED, licence="mit", results=results.assign(seed=1))


def test_a_baseline_without_results_is_refused(encoder, corpus, results):
    with pytest.raises(ValueError, match="baseline is given without results"):
        describe(encoder, corpus, TRAINED, licence="mit", baseline=results)


@pytest.mark.parametrize("column", ["setting", "measure"])
def test_a_baseline_of_another_evaluation_is_refused(encoder, corpus, results, column):
    part = results[results[column] == results[column].iloc[0]]
    with pytest.raises(ValueError, match=f"baseline has other values of '{column}' than results"):
        describe(encoder, corpus, TRAINED, licence="mit", results=results, baseline=part)
