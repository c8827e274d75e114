"""Tests of parameters: what is wrong with a YAML file is said with its file, key and value, before any work starts."""

import json
import re

import nbformat
import pytest
import yaml

from hybridlib.paths import notebook_path, params_path, project_root
from hybridlib.study import store
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.questions.batch_ratio import BatchRatioParams

EMBEDDED = yaml.safe_load(params_path("embedded", "batch_ratio").read_text(encoding="utf-8"))


def write(tmp_path, **changes):
    path = tmp_path / "batch_ratio.yaml"
    values = {key: value for key, value in {**EMBEDDED, **changes}.items() if value != "LEFT OUT"}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "path", sorted(project_root().glob("params/*/*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_parameter_file_is_sound_and_names_its_own_profile(path):
    params = QUESTIONS[path.stem].from_yaml(path)
    assert params.profile == path.parent.name
    keys = [store.key_of(run) for run in params.runs()]
    assert len(set(keys)) == len(keys) > 0


@pytest.mark.parametrize("notebook", sorted(QUESTIONS))
def test_the_parameters_cell_has_the_names_and_types_and_values_of_the_embedded_file(notebook):
    cells = nbformat.read(notebook_path(notebook), as_version=4).cells
    (source,) = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    namespace: dict = {}
    exec(source, namespace)
    namespace.pop("__builtins__")
    values = yaml.safe_load(params_path("embedded", notebook).read_text(encoding="utf-8"))
    assert list(namespace) == list(values)
    assert set(values) == set(QUESTIONS[notebook].model_fields)
    assert json.dumps(namespace) == json.dumps(values)  # 1 and 1.0 differ here, as they would to papermill


NEITHER = "static:scratch, static:aligned, nor a folder here, nor a hub id"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpah": 0.5}, r"unknown key 'alpah'; allowed: profile, task"),
        ({"steps": "LEFT OUT"}, r"'steps' is missing"),
        ({"learning_rate": "1e-4"}, r"learning_rate is '1e-4': .*write 1\.0e-4"),
        ({"steps": 1.5}, r"steps is 1\.5: "),
        ({"steps": 0}, r"steps is 0: .*greater than or equal to 1"),
        ({"steps": True}, r"steps is True: "),
        ({"alphas": [0.0, 1.5, 1.0]}, r"alphas\.1 is 1\.5: .*less than or equal to 1"),
        ({"alphas": [0.0, -0.1, 1.0]}, r"alphas\.1 is -0\.1: .*greater than or equal to 0"),
        ({"alphas": [0.0, 0.5, 0.7]}, r"alphas is \[0\.0, 0\.5, 0\.7\]; it must include 0 and 1"),
        ({"hybrid_alpha": 0.4}, r"alphas is .* it must include 0 and 1, .* and hybrid_alpha, 0\.4"),
        ({"hybrid_alpha": 1.0}, r"hybrid_alpha is 1\.0; allowed: above 0, below 1"),
        ({"sizes": [0.5]}, r"sizes is \[0\.5\]: it must include 1\.0"),
        ({"sizes": [0.0, 1.0]}, r"sizes\.0 is 0\.0: .*greater than 0"),
        ({"seeds": [0, 0]}, r"seeds is \[0, 0\]: a value comes twice"),
        ({"seeds": [1 << 40]}, r"seeds\.0 is 1099511627776: .*less than 4294967296"),
        ({"available": {"xx": 0.5}}, r"available is .*unknown language 'xx'; known are ar, bn"),
        ({"available": {"sw": 2.0}}, r"available\.sw is 2\.0: .*less than or equal to 1"),
        ({"languages": ["en", "it"]}, r"languages is .*unknown language 'it'; known are ar, "),
        ({"encoders": ["statik"]}, rf"'statik' is neither {NEITHER}"),
        ({"encoders": ["./nowhere"]}, rf"'\./nowhere' is neither {NEITHER}"),
        ({"task": "squad"}, r"task is 'squad': allowed: atlas, .*xquad-r"),
        ({"corpus": "squad"}, r"corpus is 'squad': allowed: atlas"),
        ({"corpus": "squad-translate+marco"}, r"allowed: atlas, .* or several joined by"),
        ({"temperature": 0.0}, r"temperature is 0\.0: .*greater than 0"),
        ({"profile": "../x"}, r"profile is '\.\./x': "),
        ({"training": {"warmup": 1}}, r"training.*warmup'; allowed: query_prompt, document_prompt, "),
        ({"training": {"precision": "float16"}}, r"training.*'float32' or 'bfloat16'"),
        ({"training": {"max_length": 0}}, r"training.*greater than or equal to 1"),
        ({"training": {"validation": "squad"}}, r"training.*'squadshifts'"),
    ],
)
def test_a_wrong_parameter_is_refused_by_file_key_and_value(tmp_path, changes, message):
    path = write(tmp_path, **changes)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{message}"):
        BatchRatioParams.from_yaml(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("profile: !!python/object/apply:os.getcwd []", "is not YAML"),  # no object is made
        ("- 1", "holds no parameters"),
        ("", "holds no parameters"),
        (None, "does not exist"),
    ],
)
def test_a_file_that_holds_no_parameters_is_refused(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    if text is not None:
        path.write_text(text)
    error = FileNotFoundError if text is None else ValueError
    with pytest.raises(error, match=f"^{re.escape(str(path))} {message}"):
        BatchRatioParams.from_yaml(path)


def test_parameters_are_taken_from_a_notebooks_variables_and_nothing_else_is():
    params = BatchRatioParams.from_namespace({**EMBEDDED, "plt": object()})
    assert params.steps == EMBEDDED["steps"]
    with pytest.raises(ValueError, match=r"parameters cell: 'steps' is missing"):
        BatchRatioParams.from_namespace({key: value for key, value in EMBEDDED.items() if key != "steps"})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        # There are 758 training facts, of which 0.1, rounded up, are 76.
        ({"available": {"sw": 0.1}}, ValueError, r"batch_size is 100, .* cannot be filled in sw \(76\)"),
        ({"task": "xquad-r"}, FileNotFoundError, r"xquad-r/\w\w\.json of xquad-r does not exist; get it from https://"),
        (
            {"training": {"validation": "squadshifts"}},
            FileNotFoundError,
            r"squadshifts/[\w.]+\.json of squadshifts does not exist; get it",
        ),
    ],
)
def test_data_that_is_too_small_or_missing_is_found_before_any_training(tmp_path, monkeypatch, changes, error, message):
    monkeypatch.setenv("HYBRIDLIB_DATA", str(tmp_path))
    params = BatchRatioParams(**{**EMBEDDED, **changes})
    with pytest.raises(error, match=message):
        params.check_data()


def test_a_corpus_or_task_may_be_several_joined_by_plus():
    joined = BatchRatioParams(**{**EMBEDDED, "corpus": "squad-translate+mmarco", "task": "xquad-r+mmarco"})
    assert {(run.corpus, run.task) for run in joined.runs()} == {("squad-translate+mmarco", "xquad-r+mmarco")}


def test_a_public_corpus_may_have_languages_that_the_embedded_one_has_not():
    in_italian = {"corpus": "mmarco", "languages": ["en", "it"], "available": {"it": 0.5}}
    assert BatchRatioParams(**{**EMBEDDED, **in_italian}).languages == ["en", "it"]


def test_settings_that_are_as_always_leave_a_run_as_it_is():
    """Name some defaults: nothing is then computed again."""
    plain, named = (
        BatchRatioParams(**{**EMBEDDED, "training": training}).runs()
        for training in ({}, {"precision": "float32", "patience": 3})
    )
    assert plain == named


def test_runs_with_the_same_first_encoder_stand_side_by_side():
    runs = BatchRatioParams(**{**EMBEDDED, "sizes": [1.0]}).runs()
    starts = [(run.encoder, run.seed) for run in runs]
    assert starts == sorted(starts, key=starts.index)
    assert {run.alpha for run in runs} == set(EMBEDDED["alphas"])


def test_an_encoder_may_be_an_id_of_the_hub_with_a_revision_or_a_folder(tmp_path):
    encoders = ["static:scratch", "sentence-transformers/LaBSE", "FacebookAI/xlm-roberta-base@e73636d", str(tmp_path)]
    assert BatchRatioParams(**{**EMBEDDED, "encoders": encoders}).encoders == encoders
