"""Columns of numbers come in many types; all are read in float64, and what is no number is named."""

import warnings

import numpy as np
import pandas as pd
import pytest

from hybridlib.data.checks import numbers_of


@pytest.mark.parametrize(
    "dtype",
    ["float16", "float32", "Float32", "Float64", "int8", "Int64", ">f8", "category", "object", "float64[pyarrow]"],
)
def test_numbers_of_every_type_are_read_in_float64(dtype):
    found = numbers_of(pd.Series([1, 2]).astype(dtype), "results.value")
    assert found.dtype == np.float64 and found.tolist() == [1, 2]


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1, None], dtype="Int8"),
        pd.Series([1, None], dtype="float64[pyarrow]"),
        pd.Series([1, None, pd.NA][:2], dtype=object),
        pd.Series([np.float16(1), pd.NA], dtype=object),
        np.ma.array([1.0, 7.0], mask=[False, True]),
        [1, np.nan],
    ],
)
def test_a_number_that_is_missing_is_nan_or_refused(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(numbers_of(values, "results.value", missing=True), [1, np.nan])
    with pytest.raises(ValueError, match=r"^results.value: row 1 is .*; allowed: a finite number$"):
        numbers_of(values, "results.value")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("0.5", "'0.5'"),
        (True, "True"),
        (np.True_, "True"),
        (1j, "1j"),
        (np.inf, "inf"),
        (-np.inf, "-inf"),
        (2e100, r"2e\+100"),
        (10**400, "1000.*"),
        (pd.Timestamp("2026-11-29"), "of the type Timestamp"),
        (np.array([1, 2]), r"an array of int64 of shape \(2,\)"),
    ],
)
def test_what_is_no_number_or_too_large_to_be_squared_is_refused(value, told):
    for values in ([0.5, value], pd.Series([0.5, value], dtype=object)):
        with pytest.raises(ValueError, match=rf"^results.value: row 1 is {told}; allowed: a finite number or none$"):
            numbers_of(pd.Series(values, dtype=object), "results.value", missing=True)


def test_a_whole_column_of_another_type_is_refused_and_an_empty_one_is_not():
    for values in (["a"], [True], [1j], pd.to_datetime(["2026-11-29"])):
        with pytest.raises(ValueError, match=r"^results.value: row 0 is .*; allowed: a finite number$"):
            numbers_of(pd.Series(values), "results.value")
    assert numbers_of([], "results.value").tolist() == []
