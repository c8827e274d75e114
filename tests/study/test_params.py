"""Tests of parameters: what is wrong with a YAML file is said with its file, key and value, before any work starts."""

import json
import math
import re
from typing import ClassVar

import nbformat
import papermill
import pytest
import yaml

from hybridlib.paths import notebook_path, params_path, project_root
from hybridlib.study.cli.notebooks import MODELS
from hybridlib.study.params import Params
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.questions.batch_ratio import BatchRatioParams
from hybridlib.study.run import Test
from hybridlib.study.runs.keys import key_of

PROFILES = ("e5", "embedded", "paper")
# The profile that a notebook is committed as executed on: its parameters cell has the values of that file.
COMMITTED = [*(("e5", name) for name in QUESTIONS), ("embedded", "explorer")]
FILES = [*((profile, name) for profile in PROFILES for name in QUESTIONS), COMMITTED[-1], ("xquad-r", "explorer")]


def values_of(profile, name):
    return yaml.safe_load(params_path(profile, name).read_text(encoding="utf-8"))


EMBEDDED = values_of("embedded", "batch_ratio")


def changed(training=None, **changes):
    """Return the values of the embedded file with changes, those below `training` too; "LEFT OUT" takes a key away."""
    values = {**EMBEDDED, **changes, "training": {**EMBEDDED["training"], **(training or {})}}
    values["training"] = {key: value for key, value in values["training"].items() if value != "LEFT OUT"}
    return {key: value for key, value in values.items() if value != "LEFT OUT"}


def write(tmp_path, **changes):
    path = tmp_path / "batch_ratio.yaml"
    path.write_text(yaml.safe_dump(changed(**changes)), encoding="utf-8")
    return path


def test_every_profile_has_a_file_for_every_question_and_two_have_one_for_the_explorer():
    files = {(path.parent.name, path.stem) for path in project_root().glob("params/*/*.yaml")}
    assert files == set(FILES)


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_parameter_file_is_sound_and_names_its_own_profile(profile, name):
    params = QUESTIONS[name].from_yaml(params_path(profile, name))
    assert params.profile == profile
    keys = [key_of(run) for run in params.runs()]
    assert len(set(keys)) == len(keys) > 0
    assert params.is_demonstration == (profile == "embedded")


@pytest.mark.parametrize(("profile", "notebook"), COMMITTED)
def test_the_parameters_cell_has_the_names_and_types_and_values_of_the_file(profile, notebook):
    cells = nbformat.read(notebook_path(notebook), as_version=4).cells
    (source,) = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    namespace: dict = {}
    exec(source, {"__builtins__": {}}, namespace)  # without builtins: it has plain values alone
    values = values_of(profile, notebook)
    assert set(namespace) == set(values)
    for name, value in values.items():  # 1 and 1.0 differ here, as they would to papermill
        assert json.dumps(namespace[name]) == json.dumps(value), name


@pytest.mark.parametrize(("profile", "notebook"), FILES)
def test_papermill_finds_every_key_of_every_file_in_the_parameters_cell(profile, notebook):
    # It reads the cell line by line, and warns of a parameter that it did not find.
    known = set(papermill.inspect_notebook(notebook_path(notebook)))
    assert set(values_of(profile, notebook)) <= known
    if (profile, notebook) in COMMITTED:
        assert set(values_of(profile, notebook)) == known


@pytest.mark.parametrize(("profile", "notebook"), FILES)
def test_a_file_has_every_key_that_is_required_and_none_that_the_model_lacks(profile, notebook):
    fields = MODELS[notebook].model_fields
    required = {name for name, field in fields.items() if field.is_required()}
    assert required <= set(values_of(profile, notebook)) <= set(fields)
    # What all questions have may be left out only where there is a default that changes nothing.
    assert set(Params.model_fields) - required == {"pool", "data_seed"}


NEITHER = "static:scratch, static:aligned, multilingual-e5-small-4bit, nor a folder here, nor a hub id"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpah": 0.5}, r"unknown key 'alpah'; allowed: profile, encoder"),
        ({"steps": 100}, r"unknown key 'steps'; allowed: profile, encoder"),  # it is below `training`
        ({"folds": "LEFT OUT"}, r"'folds' is missing"),
        ({"training": {"steps": "LEFT OUT"}}, r"'training\.steps' is missing"),
        ({"training": {"batch_size": "LEFT OUT"}}, r"'training\.batch_size' is missing"),
        ({"training": {"temperature": "LEFT OUT"}}, r"'training\.temperature' is missing"),
        ({"training": {"learning_rate": "LEFT OUT"}}, r"'training\.learning_rate' is missing"),
        ({"training": {"learning_rate": "1e-4 "}}, r"training\.learning_rate is '1e-4 '; allowed: a number"),
        ({"training": {"steps": 1.5}}, r"training\.steps is 1\.5; "),
        ({"training": {"steps": 0}}, r"training\.steps is 0; .*greater than or equal to 1"),
        ({"training": {"steps": 10**30}}, r"training\.steps is 10+; allowed: less than or equal to 1000000000"),
        ({"steps_tried": [10**10]}, r"steps_tried\.0 is 10+; allowed: less than or equal to 1000000000"),
        ({"training": {"batch_size": 10**7}}, r"training\.batch_size is 10+; allowed: less than or equal to 1000000"),
        ({"training": {"batch_size": 10**4000}}, r"batch_size is 10+\.\.\.0+; allowed: less than or equal to 1000000"),
        ({"training": {"batch_size": 0}}, r"training\.batch_size is 0; .*greater than or equal to 1"),
        ({"training": {"learning_rate": 0.0}}, r"training\.learning_rate is 0\.0; .*greater than 0"),
        ({"training": {"steps": True}}, r"training\.steps is True; "),
        ({"steps_tried": [0]}, r"steps_tried\.0 is 0; .*greater than or equal to 1"),
        ({"alphas": [0.0, 1.5, 1.0]}, r"alphas\.1 is 1\.5; .*less than or equal to 1"),
        ({"alphas": [0.0, -0.1, 1.0]}, r"alphas\.1 is -0\.1; .*greater than or equal to 0"),
        ({"alphas": [0.0, 0.5, 0.7]}, r"alphas is \[0\.0, 0\.5, 0\.7\]; it must include 0, 1 and hybrid_alpha, 0\.5"),
        ({"hybrid_alpha": 0.4}, r"alphas is .* it must include 0, 1 and hybrid_alpha, 0\.4"),
        ({"hybrid_alpha": 1.0}, r"hybrid_alpha is 1\.0; allowed: above 0, below 1"),
        ({"seeds": []}, r"seeds is \[\]; .*at least 1"),
        ({"seeds": [0, 0]}, r"seeds is \[0, 0\]; a value comes twice"),
        ({"seeds": [1 << 40]}, r"seeds\.0 is 1099511627776; .*less than 4294967296"),
        ({"seeds": [1 << 32]}, r"seeds\.0 is 4294967296; .*less than 4294967296"),
        ({"seeds": [*range(150_000)]}, r"seeds is \[0, .*\]; it has 150,000 values; allowed: at most 1,000"),
        ({"folds": [-1]}, r"folds\.0 is -1; .*greater than or equal to 0"),
        ({"folds": [4]}, r"folds\.0 is 4; .*less than 4"),
        ({"folds": [0]}, r"folds is \[0\]; allowed for the corpus 'atlas': none"),
        (
            {"corpus": "xquad-r", "low_resource": []},
            r"folds is \[\]; allowed for the corpus 'xquad-r': one or more",
        ),
        (
            {"corpus": "xquad-r", "low_resource": [], "folds": [1], "seeds": [(1 << 32) - 1]},
            "seed is 4294967296; allowed: less than 4294967296",  # the sum of the seed and the fold
        ),
        (
            {"corpus": "xquad-r", "folds": [0], "low_resource": [{"sw": 0.5}]},
            r"unknown language 'sw'; known are \['ar'",
        ),
        ({"strategies": ["x-y"]}, r"two runs have the labels {.*'strategy': 'x-y'}; name each once"),
        ({"low_resource": [{"sw": 0.2}, {"sw": 0.1}]}, "two of low_resource, would have the same name"),
        ({"alphas": [0.0, 0.5, 1.0, 0.1, 0.10000001]}, "two of alphas, .* would have the same name"),
        ({"steps_tried": [50]}, r"steps_tried is \[50\]; allowed without folds: none"),
        ({"training": {"learning_rate": math.inf}}, r"training\.learning_rate is inf; .*finite number"),
        ({"training": {"keep_encoder": "yes"}}, r"training\.keep_encoder is 'yes'; allowed: True or False"),
        ({"training": {"query_prompt": 1}}, r"training\.query_prompt is 1; allowed: a text"),
        ({"low_resource": [{"xx": 0.5}]}, r"low_resource is .*unknown language 'xx'; known are \['ar', 'bn', "),
        ({"low_resource": [{}]}, r"low_resource\.0 is {}; .*at least 1"),
        ({"low_resource": [{"sw": 2.0}]}, r"low_resource\.0\.sw is 2\.0; .*less than or equal to 1"),
        ({"languages": ["en", "it"]}, r"languages is .*unknown language 'it'; known are \['ar', "),
        ({"languages": ["en", "fi"]}, r"low_resource has 'bn'; allowed: \['en', 'fi'\]"),  # where nothing is trained
        ({"encoder": ""}, r"encoder is ''; allowed: a text that is not empty"),
        ({"encoder": "."}, r"encoder is '\.'; no encoder is saved there"),
        ({"encoder": "x" * 300}, "it is neither "),
        ({"encoder": "statik"}, rf"'statik'; it is neither {NEITHER}"),
        ({"encoder": "./nowhere"}, rf"'\./nowhere'; it is neither {NEITHER}"),
        ({"strategies": ["hybird"]}, r"strategies has 'hybird'; allowed: \['en-en', 'x-x', .*'hybrid-pairs'"),
        ({"strategies": ["x-z, centred"]}, "strategies has 'x-z, centred'; allowed: .*'bm25', 'untrained, centred'"),
        ({"strategies": ["x-y, no masks"]}, "strategies has 'x-y, no masks'; allowed: .*'untrained, no"),
        ({"transfer": {"squad": []}}, "transfer has 'squad'; allowed: .*tatoeba"),
        ({"transfer": {"atlas": []}}, "transfer has 'atlas'; allowed: .*tatoeba"),  # it is the task
        ({"task": "tatoeba"}, "task is 'tatoeba'; allowed: atlas, "),
        ({"task": "atlas+atlas"}, r"task is 'atlas\+atlas'; allowed: atlas, .* several different ones joined by \+"),
        ({"corpus": "atlas+atlas"}, r"corpus is 'atlas\+atlas'; allowed: atlas, .* several different ones joined by"),
        ({"transfer": {"mlqa-r": ["hybird"]}}, r"transfer.mlqa-r has 'hybird'; allowed: \['x-y', "),
        ({"transfer": {"mlqa-r": ["en-en"]}}, r"transfer.mlqa-r has 'en-en'; allowed: \['x-y', "),  # it is not trained
        ({"task": "squad"}, r"task is 'squad'; allowed: atlas, .*xquad-r"),
        ({"corpus": "squad"}, r"corpus is 'squad'; allowed: atlas"),
        ({"corpus": "squad-translate+marco"}, r"allowed: atlas, .* or several different ones joined by"),
        ({"training": {"temperature": 0.0}}, r"training\.temperature is 0\.0; .*greater than 0"),
        ({"profile": "../x"}, r"profile is '\.\./x'; allowed: letters, digits, - and _"),
        ({"profile": "x" * 300}, r"profile is 'x+\.\.\.x+'; allowed: at most 100 characters"),
        ({"encoder": "x" * 300}, rf"encoder is 'x+\.\.\.x+'; it is neither {NEITHER}"),
        ({"encoder": "x/" * 2040 + "x"}, rf"encoder is 'x/.*'; it is neither {NEITHER}"),
        ({"encoder": "a\0b"}, rf"it is neither {NEITHER}"),
        ({"languages": ["en", "x" * 1000]}, r"languages is .*; unknown language 'x+\.\.\.x+'; known are \['ar'"),
        ({"strategies": ["x" * 1000, "y" * 1000]}, r"strategies has 'x+\.\.\.x+'; allowed: "),
        (
            {"training": {"mini_batch_size": 10}},
            r"training\.mini_batch_size is 10; allowed for the encoder static:scratch: None",
        ),
        (
            {"training": {"warmup": 1}},
            r"training.*warmup'; allowed: batch_size, steps, .*query_prompt, document_prompt, ",
        ),
        ({"training": {"precision": "float16"}}, r"training.*'float32' or 'bfloat16'"),
        ({"training": {"max_length": 0}}, r"training.*greater than or equal to 1"),
        ({"training": {"validation": "squad"}}, r"training.*'squadshifts'"),
        ({"training": {"hard_negatives": "statik"}}, rf"training.hard_negatives is 'statik'; it is neither {NEITHER}"),
    ],
)
def test_a_wrong_parameter_is_refused_by_file_key_and_value(tmp_path, changes, message):
    path = write(tmp_path, **changes)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{message}") as raised:
        BatchRatioParams.from_yaml(path)
    assert len(str(raised.value).replace(str(path), "")) < 500


# YAML 1.1 takes these for 10 seconds, 8, false and infinity.
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seeds: [1:30]", "seeds.0 is '1:30'; allowed: a whole number"),
        ("hybrid_alpha: .inf", "hybrid_alpha is inf; allowed: less than or equal to 1"),
        ("languages: [no]", "languages is ['no']; unknown language 'no'; known are ['ar', "),
        ("seeds: [0]\nseeds: [1]", "is not YAML: the key 'seeds' comes twice"),
        ("7: 1", "is not YAML: a key is 7; allowed: a text"),
        ("2024-01-01: 1", "unknown key '2024-01-01'; allowed: profile, encoder"),
        ("null: 1", "is not YAML: a key is None; allowed: a text"),
        ("seeds: 0", "seeds is 0; allowed: a list"),
        ("seeds:", "seeds is None; allowed: a list"),
        ("profile: ''", "profile is ''; "),
        ("training: {}", "'training.batch_size' is missing"),
        ("training: fast", "training is 'fast'; allowed: a name and a value for each"),
        ("x: &a [*a]", "is not YAML: a value has the name 'a'; allowed: values without names (line "),
        ("seeds: [" + "1" * 5000 + "]", "1' of 5,000 characters cannot be read as !!int (line "),
        ("training: {mask: !!bool 3}", "is not YAML: '3' cannot be read as !!bool (line "),
    ],
)
def test_a_value_that_yaml_might_take_for_another_is_refused_as_what_it_is(tmp_path, line, message):
    name = line.partition(":")[0]
    text = yaml.safe_dump({key: value for key, value in EMBEDDED.items() if key != name}) + line
    path = tmp_path / "batch_ratio.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as raised:
        BatchRatioParams.from_yaml(path)
    said = str(raised.value)
    assert message in said and said.startswith(str(path)) and len(said.replace(str(path), "")) < 500


def test_a_number_may_begin_with_zeros_and_have_an_exponent(tmp_path):
    changes = yaml.safe_dump({**EMBEDDED, "seeds": [], "training": {}}).replace("seeds: []", "seeds: [010]")
    text = "training: {batch_size: 100, steps: 200, temperature: 5e-2, learning_rate: 1e-4}"
    path = tmp_path / "batch_ratio.yaml"
    path.write_text(changes.replace("training: {}", text), encoding="utf-8")
    params = BatchRatioParams.from_yaml(path)
    assert params.seeds == [10] and params.training.learning_rate == 1e-4


def test_a_prompt_that_is_empty_is_not_one_that_is_left_out(tmp_path):
    for given, expected in (({}, None), ({"query_prompt": ""}, ""), ({"query_prompt": None}, None)):
        params = BatchRatioParams.from_yaml(write(tmp_path, training=given))
        assert {run.query_prompt for run in params.runs()} == {expected}


def test_an_encoder_that_is_not_trained_is_not_kept():
    trials = BatchRatioParams(**changed({"keep_encoder": True})).trials()
    assert {(trial.run.steps > 0, trial.run.keep_encoder) for trial in trials} == {(True, True), (False, False)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("profile: !!python/object/apply:os.getcwd []", "is not YAML"),  # no object is made
        ("- 1", "holds no parameters"),
        ("", "holds no parameters"),
        ("{'a': 1", "is not YAML"),
        ("[" * 5000, "is nested too deeply"),
        (b"\xff\xfe", "is not UTF-8"),
        (None, "does not exist"),
    ],
)
def test_a_file_that_holds_no_parameters_is_refused(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    error = FileNotFoundError if text is None else ValueError
    with pytest.raises(error, match=f"^{re.escape(str(path))} {message}"):
        BatchRatioParams.from_yaml(path)


def test_parameters_are_taken_from_a_notebooks_variables_and_nothing_else_is():
    params = BatchRatioParams.from_namespace({**EMBEDDED, "plt": object()})
    assert params.training.steps == EMBEDDED["training"]["steps"]
    with pytest.raises(ValueError, match=r"parameters cell: 'folds' is missing"):
        BatchRatioParams.from_namespace(changed(folds="LEFT OUT"))


ATLAS_TOO_SMALL = r"batch_size is 100, .* cannot be filled in sw \(76\)"
NO_FILE = "{}/[\\w.]+ of {} does not exist; get it"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        # There are 758 training facts, of which 0.1, rounded up, are 76.
        ({"low_resource": [{"sw": 0.1}]}, ValueError, ATLAS_TOO_SMALL),
        ({"training": {"batch_size": 800}}, ValueError, r"batch_size is 800, .*; allowed: at most 152"),
        ({"task": "xquad-r"}, FileNotFoundError, NO_FILE.format("xquad-r", "xquad-r")),
        ({"transfer": {"mlqa-r": []}}, FileNotFoundError, NO_FILE.format("mlqa-r", "mlqa-r")),
        (
            {"training": {"validation": "squadshifts"}},
            FileNotFoundError,
            NO_FILE.format("squadshifts", "squadshifts"),
        ),
    ],
)
def test_data_that_is_too_small_or_missing_is_found_before_any_training(tmp_path, monkeypatch, changes, error, message):
    monkeypatch.setenv("HYBRIDLIB_DATA", str(tmp_path))
    params = BatchRatioParams(**changed(**{"seeds": [0], **changes}))
    with pytest.raises(error, match=message):
        params.check_data()


def test_a_corpus_or_task_may_be_several_joined_by_plus():
    low = {"low_resource": [{"th": 0.2}]}
    joined = BatchRatioParams(**changed(corpus="squad-translate+mmarco", task="xquad-r+mmarco", **low))
    assert {(run.corpus, run.tests[0].task) for run in joined.runs()} == {("squad-translate+mmarco", "xquad-r+mmarco")}


def test_a_public_corpus_may_have_languages_that_the_embedded_one_has_not():
    in_italian = {"corpus": "mmarco", "languages": ["en", "it"], "low_resource": [{"it": 0.5}]}
    assert BatchRatioParams(**changed(**in_italian)).languages == ["en", "it"]


def test_settings_that_are_as_always_leave_a_run_as_it_is():
    """Name some defaults: nothing is then computed again."""
    plain, named = (
        BatchRatioParams(**changed(training)).runs() for training in ({}, {"precision": "float32", "patience": 3})
    )
    assert plain == named


def test_an_encoder_may_be_an_id_of_the_hub_with_a_revision_or_a_folder(tmp_path):
    (tmp_path / "config.json").touch()
    for encoder in ("sentence-transformers/LaBSE", "FacebookAI/xlm-roberta-base@e73636d", str(tmp_path)):
        assert BatchRatioParams(**changed(encoder=encoder)).encoder == encoder


# What all questions share


class OneRun(Params):
    """Parameters of a question that compares nothing."""

    claims: ClassVar = ()

    def trials(self):
        return self.untrained("mlqa-r", "tatoeba")

    def read_tables(self):
        return {}


def one_run(**changes):
    values = {name: EMBEDDED[name] for name in Params.model_fields if name in EMBEDDED}
    return OneRun(**{**values, "task": "xquad-r", "corpus": "xquad-r", "folds": [0], "pool": "judged", **changes})


def test_with_folds_runs_differ_in_fold_and_seed_and_without_in_seed():
    # The seed of a run is the sum of the two, so runs of two folds never share their batches by chance.
    assert one_run(seeds=[0, 10], folds=[0, 2]).replicates == [(0, 0), (2, 2), (0, 10), (2, 12)]
    assert one_run(seeds=[3, 4], corpus="atlas", folds=[]).replicates == [(None, 3), (None, 4)]


def test_the_untrained_encoder_is_tested_once_on_what_is_the_same_for_all_folds():
    trials = one_run(seeds=[0], folds=[0, 1]).trials()
    assert [trial.labels for trial in trials] == [
        {"strategy": "untrained", "fold": 0, "seed": 0},
        {"strategy": "untrained", "fold": 1, "seed": 1},
    ]
    main = Test(task="xquad-r", pool="judged")  # the pool is that of the main task
    assert [trial.run.tests for trial in trials] == [(main, Test(task="mlqa-r"), Test(task="tatoeba")), (main,)]
    assert all(trial.run.steps == 0 for trial in trials)


def test_runs_are_one_where_only_what_determines_nothing_differs():
    # An encoder that is neither trained nor drawn is the same for all seeds; all that any of them is tested on counts.
    (run,) = one_run(encoder="multilingual-e5-small-4bit", seeds=[0, 1]).runs()
    assert [test.task for test in run.tests] == ["xquad-r", "mlqa-r", "tatoeba"]
    assert len(one_run(encoder="static:scratch", seeds=[0, 1]).runs()) == 2


def test_strategies_with_an_alpha_of_their_own_are_one_run_whatever_is_asked():
    assert one_run().run(None, 0, "x-y", 0.3) == one_run().run(None, 0, "x-y", 0.7)
    assert one_run().run(None, 0, "hybrid", 0.3) != one_run().run(None, 0, "hybrid", 0.7)
