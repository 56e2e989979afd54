"""The complexity score: bounded, explained, and moved by what its weights say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from governance.domain.complexity import DEFAULT_WEIGHTS, FEATURES, Features, score

FEATURE_VALUES = st.builds(
    Features,
    prompt_tokens=st.integers(0, 10**9),
    turns=st.integers(0, 10**5),
    tool_count=st.integers(0, 10**4),
    images=st.integers(0, 10**4),
    thinking=st.sampled_from(["", "adaptive", "enabled", "disabled", "other"]),
    thinking_budget=st.integers(0, 10**7),
    effort=st.sampled_from(["", "low", "high", "max", "odd"]),
    request_class=st.sampled_from(["", "main", "subagent", "compaction", "auxiliary", "odd"]),
)
WEIGHTS = st.dictionaries(st.sampled_from(list(DEFAULT_WEIGHTS)), st.floats(-10, 1000), max_size=6)


def test_a_light_request_and_a_heavy_one() -> None:
    assert score(Features(prompt_tokens=300, turns=1, request_class="auxiliary")).value <= 1
    heavy = Features(250_000, 60, 40, 6, "adaptive", 0, "max", "main")
    assert score(heavy).value == 100


def test_the_parts_are_told() -> None:
    made = score(Features(prompt_tokens=12_000, turns=4, tool_count=18, request_class="main"))
    assert str(made) == "complexity 34: prompt 12k tokens +12, 4 turns +1, main +15, 18 tools +6"
    assert [part.feature for part in made.parts] == [feature.name for feature in FEATURES]


def test_usual_weights_have_their_reasons_and_add_up_to_a_hundred() -> None:
    assert sum(DEFAULT_WEIGHTS.values()) == 100
    assert all(feature.reason.endswith(".") for feature in FEATURES)


def test_one_weight_alone_is_the_whole_score() -> None:
    assert score(Features(tool_count=15), {"tools": 3}).value == 50
    assert score(Features(tool_count=15), {}).value == 0


def test_effort_goes_before_a_budget_and_disabled_before_both() -> None:
    only = {"thinking": 1.0}
    assert score(Features(thinking="enabled", thinking_budget=16_000), only).value == 50
    assert score(Features(thinking="enabled", thinking_budget=16_000, effort="max"), only).value == 100
    assert score(Features(thinking="disabled", effort="max"), only).value == 0
    assert score(Features(thinking="adaptive"), only).value == 50


@given(FEATURE_VALUES, WEIGHTS)
def test_the_score_is_bounded_and_the_sum_of_its_parts(features: Features, weights: dict[str, float]) -> None:
    made = score(features, weights)
    assert 0 <= made.value <= 100
    assert made.value == sum(part.points for part in made.parts)
    assert all(part.points >= 0 for part in made.parts)


@given(FEATURE_VALUES, st.integers(0, 10**6))
def test_a_longer_prompt_never_scores_less(features: Features, more: int) -> None:
    longer = Features(
        features.prompt_tokens + more, features.turns, features.tool_count, features.images, features.thinking,
        features.thinking_budget, features.effort, features.request_class,
    )  # fmt: skip
    assert score(longer).value >= score(features).value
