"""Manifest bytes and digests: pure functions of the content."""

import hashlib
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq_tasks.errors import AigqError
from aigq_tasks.storage.manifests import Blob, Manifest

DAY = date(2017, 11, 6)
NAMES = st.text(max_size=5)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=5,
)
MANIFESTS = st.builds(
    Manifest,
    stage=NAMES,
    day=st.dates(),
    revision=st.integers(1, 9999),
    inputs=st.dictionaries(NAMES, DIGESTS, max_size=3),
    config=st.dictionaries(NAMES, JSON, max_size=3),
    version=NAMES,
    outputs=st.dictionaries(NAMES, st.builds(Blob, DIGESTS, st.integers(0)), max_size=3),
    metrics=st.dictionaries(
        NAMES, st.floats(allow_nan=False, allow_infinity=False) | NAMES, max_size=3
    ),
)


@given(MANIFESTS)
def test_bytes_round_trip(manifest: Manifest) -> None:
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


@given(MANIFESTS)
def test_order_of_insertion_does_not_show(manifest: Manifest) -> None:
    turned = replace(
        manifest,
        inputs=dict(reversed(manifest.inputs.items())),
        config=dict(reversed(manifest.config.items())),
        outputs=dict(reversed(manifest.outputs.items())),
        metrics=dict(reversed(manifest.metrics.items())),
    )
    assert turned.to_bytes() == manifest.to_bytes()
    assert turned.input_digest == manifest.input_digest


def test_bytes_and_digest_by_hand() -> None:
    manifest = Manifest(
        stage="ctr",
        day=DAY,
        revision=2,
        inputs={"logs": "ab"},
        config={"window_days": 14},
        version="0.1.0",
        outputs={"model.txt": Blob("cd", 3)},
        metrics={"auc": 0.75, "état": "ok"},
    )
    expected = (
        '{"config":{"window_days":14},"day":"2017-11-06","inputs":{"logs":"ab"},'
        '"metrics":{"auc":0.75,"état":"ok"},"outputs":{"model.txt":{"digest":"cd","size":3}},'
        '"revision":2,"stage":"ctr","version":"0.1.0"}'
    ).encode()
    assert manifest.to_bytes() == expected
    assert manifest.digest == hashlib.sha256(expected).hexdigest()


def test_input_digest_sees_what_determines_the_outputs_and_nothing_else() -> None:
    base = Manifest(stage="ctr", day=DAY, inputs={"a": "1"}, config={"x": 1}, version="1")
    for other in (
        replace(base, stage="direct"),
        replace(base, day=date(2017, 11, 7)),
        replace(base, inputs={"a": "2"}),
        replace(base, inputs={"b": "1"}),
        replace(base, config={"x": 2}),
        replace(base, version="2"),
    ):
        assert other.input_digest != base.input_digest
    result = replace(base, revision=3, outputs={"f": Blob("c", 1)}, metrics={"auc": 0.5})
    assert result.input_digest == base.input_digest


def test_same_content_ignores_the_revision_only() -> None:
    base = Manifest(stage="ctr", day=DAY)
    assert base.same_content(replace(base, revision=7))
    assert not base.same_content(replace(base, metrics={"auc": 0.5}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_not_a_number_is_refused_by_name(value: float) -> None:
    with pytest.raises(AigqError, match="ctr 2017-11-06: metric 'auc' is"):
        Manifest(stage="ctr", day=DAY, metrics={"auc": value})
