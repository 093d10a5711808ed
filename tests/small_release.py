"""A complete release of one day on real S3, small enough to make in seconds.

Every object is what the stages make: three shoppers' logs of two days, the recall sources and the
click model learnt from them, two hardly trained policies, u2q and x2q, manifests, two ledger
entries.
"""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import servers

from aigq_tasks.logs.behaviours import behaviours
from aigq_tasks.logs.schema import empty
from aigq_tasks.pipeline.calendar import days_between
from aigq_tasks.pipeline.context import Context
from aigq_tasks.pipeline.reading import logs_of
from aigq_tasks.pipeline.runner import run_stage
from aigq_tasks.releases.publish import candidate
from aigq_tasks.serving.histories import BEHAVIOUR_TABLES, latest_profiles, shoppers_at
from aigq_tasks.settings import Settings
from aigq_tasks.stages.u2q import U2Q
from aigq_tasks.storage.canonical import to_json
from aigq_tasks.storage.ledger import Entry
from aigq_tasks.storage.manifests import Blob, Manifest
from aigq_tasks.storage.tables import to_parquet

DAY = date(2017, 11, 6)
EVE = DAY - timedelta(days=1)
USERS = {"ann": ("milk", "rye bread"), "bob": ("eggs", "milk"), "eve": ("soap", "rye bread")}
CATEGORIES = {"milk": "dairy", "rye bread": "bread", "eggs": "dairy", "soap": "household"}
TIES = pd.DataFrame(
    {
        "user_id": ["ann", "bob"],
        "trigger": "milk",
        "query": "butter",
        "place": [1, 2],
        "day": EVE.isoformat(),
    }
)
WRITTEN = ["milk", "soap", "eggs"]  # what its policy writes for everybody
SETTINGS = {
    "AIGQ_BOOTSTRAP_DAY": EVE.isoformat(),
    "AIGQ_LAUNCH_DAYS": "2",
    "AIGQ_HISTORY_DAYS": "2",
    "AIGQ_GENERATION__LIST_LENGTH": "3",
    "AIGQ_THREADS": "1",
    "AIGQ_SAMPLES__HISTORY_LINES": "4",
    "AIGQ_THINK__LIMITS__INTERESTS": "2",
    "AIGQ_THINK__LIMITS__QUERIES": "2",
    "AIGQ_THINK__LIMITS__RATIONALE_TOKENS": "2",
    "AIGQ_THINK__UPDATE_DAYS": "50",
}


def small_settings(
    s3: servers.S3Server, bucket: str, valkey_url: str, monkeypatch: Any
) -> Settings:
    """Settings of this size. No MLflow: nothing here is tracked."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    return servers.settings_for(s3, bucket, "http://127.0.0.1:1", valkey_url)


def store_files(ctx: Context, stage: str, day: date, files: dict[str, bytes]) -> Manifest:
    """Store what a stage computed, as the runner does."""
    outputs = {name: Blob(ctx.store.put_blob(data), len(data)) for name, data in files.items()}
    return ctx.manifests.create(Manifest(stage=stage, day=day, outputs=outputs))


def small_policy(think: int = 0) -> tuple[Any, Any]:
    """A small untrained model with the vocabulary of the base model; `think`: history lines."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from aigq_tasks.context.tokens import think_tokens
    from aigq_tasks.policy.backbone import load_backbone

    _, tokenizer = load_backbone("tiny", think_tokens(think) if think else ())
    torch.manual_seed(think)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Qwen3ForCausalLM(config).eval(), tokenizer


def taught_policy(ctx: Context, queries: list[str]) -> dict[str, bytes]:
    """The files of a small policy that writes these queries for everybody."""
    from aigq_tasks.policy.backbone import save_policy
    from aigq_tasks.policy.config import PolicySample, SftConfig
    from aigq_tasks.policy.il_sft import train_il_sft

    logs = logs_of(ctx, days_between(EVE, DAY), (*BEHAVIOUR_TABLES, "users"))
    users, lines = latest_profiles(logs["users"]), ctx.settings.samples.history_lines
    shoppers = shoppers_at(USERS, users, behaviours(logs, {}), DAY, lines)
    prompts = [shopper.prompt() for shopper in shoppers]
    samples = [PolicySample("", prompt, queries) for prompt in prompts]
    policy = small_policy()
    train_il_sft(*policy, samples, SftConfig(epochs=40, batch_size=4, learning_rate=1e-2), seed=0)
    return save_policy(*policy)


def make_results(ctx: Context) -> None:
    """All that `candidate` and `servable` of DAY read, but for u2q; release 1 serves DAY."""
    from aigq_tasks.policy.backbone import save_policy

    for day in days_between(EVE - timedelta(days=1), DAY):
        store_files(ctx, "logs", day, _log(day))
    texts = pd.DataFrame({"item_id": ["1"], "facets": ["f"], "text": ["oat milk"]})
    shared = {
        "item-texts": {"item_texts.parquet": to_parquet(texts)},
        "categories": _categories(),
        "ctr": _click_model(),
        "x2q": {
            "x2q.parquet": to_parquet(x2q_table("butter")),
            "ties.parquet": to_parquet(TIES),
        },
    }
    made = {name: store_files(ctx, name, EVE, files) for name, files in shared.items()}
    made["direct"] = store_files(ctx, "sft", EVE, taught_policy(ctx, WRITTEN))
    made["think"] = store_files(ctx, "think-sft", EVE, save_policy(*small_policy(think=4)))
    made["recall"] = store_files(ctx, "recall", EVE, _recall(ctx))
    ctx.ledger.append(
        Entry(
            day=EVE,
            revision=1,
            parent=None,
            models={name: manifest.digest for name, manifest in made.items()},
            verdict="bootstrap",
            code="c",
            config="d",
            who="w",
            why="test",
        )
    )
    for name in ("ctr", "x2q", "item-texts", "recall", "think-samples", "think-policy"):
        source = made.get(name, made["think"])
        ctx.manifests.create(replace(source, stage=name, day=DAY))
    ctx.manifests.create(replace(made["direct"], stage="policy", day=DAY))
    for name in ("samples", "rivals", "evaluate"):
        store_files(ctx, name, DAY, {"scores.json": to_json(name)})
    accepted = {"accepted": True, "reasons": [], "checks": [], "ctr_faults": []}
    store_files(ctx, "gate", DAY, {"verdict.json": to_json(accepted)})


def small_release(ctx: Context) -> Entry:
    """The release of DAY with all it is made of; it is not published."""
    make_results(ctx)
    run_stage(replace(U2Q, needs=("s3",)), ctx, DAY)
    return candidate(ctx, DAY, "w", "test")


def x2q_table(query: str) -> pd.DataFrame:
    """An index of one trigger."""
    return pd.DataFrame({"trigger": ["milk"], "rank": [1], "query": [query], "score": [0.5]})


def impressions(day: date) -> pd.DataFrame:
    """Three hints for each shopper at noon; the first one was clicked."""
    noon = pd.Timestamp(day) + pd.Timedelta(hours=12)
    rows = [
        (f"r-{user}-0", user, noon, position, query, clicked)
        for user in USERS
        for position, query, clicked in ((1, "milk", True), (2, "soap", False), (3, "eggs", False))
    ]
    columns = ["request_id", "user_id", "time", "position", "query", "clicked"]
    shown = pd.DataFrame(rows, columns=columns).assign(
        source="popularity", rank_score=0.5, propensity=0.25, explored=False, release="first"
    )
    later = shown["time"] + pd.Timedelta(minutes=1)
    shown["click_time"] = later.where(shown["clicked"])
    return shown.astype({"time": "datetime64[us]", "click_time": "datetime64[us]"})


def rankings() -> pd.DataFrame:
    """What production ranked for each shopper: the three hints of `impressions`, all alike."""
    rows = [(user, rank, query) for user in USERS for rank, query in enumerate(WRITTEN, start=1)]
    table = pd.DataFrame(rows, columns=["user_id", "rank", "query"])
    table.insert(0, "request_id", "r-" + table["user_id"] + "-0")
    return table.assign(source="popularity", rank_score=0.5)


def _log(day: date) -> dict[str, bytes]:
    morning = pd.Timestamp(day) + pd.Timedelta(hours=8)
    searched = [(user, query) for user, queries in USERS.items() for query in queries]
    searches = pd.DataFrame(searched, columns=["user_id", "query"]).assign(time=morning)
    searches["event_id"] = [f"s{n}" for n in range(len(searches))]
    clicks = pd.DataFrame({"event_id": ["c0"], "user_id": ["ann"], "item_id": ["1"]}).assign(
        time=morning, title="oat drink"
    )
    users = pd.DataFrame({"user_id": list(USERS)}).assign(attributes="")
    tables = {
        "users": users,
        "items": empty("items"),
        "searches": searches.astype({"time": "datetime64[us]"}),
        "item_clicks": clicks.astype({"time": "datetime64[us]"}),
        "hint_impressions": impressions(day),
        "hint_rankings": rankings(),
        "late_clicks": empty("late_clicks"),
    }
    return {f"{name}.parquet": to_parquet(rows) for name, rows in tables.items()}


def _categories() -> dict[str, bytes]:
    from aigq_tasks.evaluation.category import train

    return train(list(CATEGORIES.items())).to_files()


def _click_model() -> dict[str, bytes]:
    from ctr_model.config import TrainConfig
    from ctr_model.features import FEATURES
    from ctr_model.train import train

    draw = np.random.default_rng(0)
    features = draw.random((600, len(FEATURES)), dtype=np.float32)
    days = np.repeat(np.arange("2017-11-03", "2017-11-06", dtype="M8[D]"), 200)
    config = TrainConfig(num_threads=1, max_trees=3)
    return train(features, draw.random(600) < 0.3, days, config, seed=0).to_files()


def _recall(ctx: Context) -> dict[str, bytes]:
    from aigq_tasks.recall import cooccurrence, ebr, own_history, popularity
    from aigq_tasks.recall.clusters import embedded
    from aigq_tasks.recall.config import ClusterConfig, EbrConfig

    days = days_between(EVE - timedelta(days=1), EVE)
    history = behaviours(logs_of(ctx, days, BEHAVIOUR_TABLES), {})
    as_of = pd.Timestamp(DAY)
    config = EbrConfig(dim=8, hidden=8, epochs=1)
    meanings = embedded(history, as_of, by_words, ClusterConfig(clusters=3), seed=17)
    units = {
        "text": None,
        "category": lambda texts: [CATEGORIES.get(text, "") for text in texts],
        "cluster": meanings.cluster_of,
    }
    made = {
        "popularity": popularity.build(history, as_of),
        "own_history": own_history.build(history, as_of),
        "ebr": ebr.train(history, as_of, config, seed=17)[0],
        "embedded": meanings,
    }
    for kind in cooccurrence.KINDS:
        made[kind.name] = cooccurrence.build(history, as_of, kind, units[kind.unit])
    return {
        f"{part}/{name}": data
        for part, own in made.items()
        for name, data in own.to_files().items()
    }


def by_words(texts: list[str]) -> np.ndarray:
    """A unit vector of each text, the same for texts of one first word."""
    rows = [
        np.random.default_rng(list(text.split()[0].encode())).normal(size=384) for text in texts
    ]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32).reshape(-1, 384)
