"""Stage `item-texts`: what shoppers call the items that the log names (paper 3.2.1).

The texts are part of a release: whatever reads a history calls items by them. A text is written
once per set of facets and kept from release to release; an item newer than the release goes by its
title until the next one.
"""

from datetime import date

import pandas as pd

from aigq_tasks.context.item_text import facets_digest
from aigq_tasks.context.queries import is_allowed
from aigq_tasks.pipeline.calendar import since_release
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reads import Logs, Release
from aigq_tasks.pipeline.stage import Output, Slice, Stage
from aigq_tasks.stages.item_model import with_prompts, write_texts

COLUMNS = ["item_id", "facets", "text"]


class ItemTextSlice(Slice):
    """Of torch."""

    threads: int


def compute(given: Given, settings: ItemTextSlice, day: date) -> Output:
    """item_id -> text, for every item that the log has named so far."""
    from aigq_tasks.policy.backbone import NO_DRAWS, load_writer, make_deterministic

    items = with_prompts(given.logs("new")["items"])
    items["facets"] = items["prompt"].map(facets_digest)
    known = pd.DataFrame(columns=COLUMNS)
    if given.released("item-texts"):
        known = given.release("item-texts").table("item_texts")
    new = items[~items["facets"].isin(known["facets"])]
    make_deterministic(NO_DRAWS, settings.threads)
    loaded = load_writer(given.release("item-model").files())
    texts = write_texts(*loaded, new["prompt"], progress=True)
    merged = merge_texts(known, items, texts)
    written = pd.Series(list(texts.values()), dtype="str")
    return Output(
        tables={"item_texts": merged},
        metrics={
            "items": float(len(merged)),
            "written": float(len(texts)),
            "not_allowed": float((~written.map(is_allowed).astype(bool)).sum()),
        },
    )


def merge_texts(known: pd.DataFrame, items: pd.DataFrame, texts: dict[str, str]) -> pd.DataFrame:
    """item_id, facets, text, sorted by item_id: what is known, and the items with the text of
    their facets. Facets that are known keep their text. An item whose text may not be shown has
    no row: it goes by its title.

    known: COLUMNS. items: item_id, prompt, facets. texts: prompt -> text."""
    held = known.drop_duplicates("facets").set_index("facets")["text"].to_dict()
    new = {facets_digest(prompt): text for prompt, text in texts.items() if is_allowed(text)}
    rows = items.assign(text=items["facets"].map(new | held)).dropna(subset="text")
    merged = pd.concat([known, rows[COLUMNS]]).drop_duplicates("item_id", keep="last")
    return merged.astype("str").sort_values("item_id", ignore_index=True)


ITEM_TEXTS = Stage(
    name="item-texts",
    needs=("s3", "mlflow"),
    reads=(
        Logs("new", ("items",), since_release),
        Release("item-model"),
        Release("item-texts", optional=True),
    ),
    settings=lambda settings: ItemTextSlice(threads=settings.threads),
    compute=compute,
)
