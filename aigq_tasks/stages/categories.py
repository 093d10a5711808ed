"""Stage `categories`: the leaf-category classifier, trained once before the launch and versioned.

Query categories feed Cate HR, Unique Cates and the click model's features. One version serves
until somebody trains a new one, so figures of different days compare.
"""

from datetime import date
from typing import Any

from aigq_tasks.stages.context import Context
from aigq_tasks.stages.reading import log_window, read_logs, window_digest
from aigq_tasks.stages.runner import StageOutput


class CategoriesStage:
    """Titles of the items in the log, and queries that led to a click on one → leaf category."""

    name = "categories"
    needs: tuple[str, ...] = ("s3", "mlflow")

    def inputs(self, ctx: Context, day: date) -> dict[str, str]:
        return {"logs": window_digest(log_window(ctx, day))}

    def config(self, ctx: Context) -> dict[str, Any]:
        return {"history_days": ctx.settings.market.history_days}

    def compute(self, ctx: Context, day: date) -> StageOutput:
        from aigq_tasks.evaluation.category import train

        logs = read_logs(ctx, log_window(ctx, day), ("items", "searches", "search_clicks"))
        items = logs["items"].drop_duplicates("item_id", keep="last")
        clicked = logs["search_clicks"].merge(
            logs["searches"][["event_id", "query"]], on="event_id"
        )
        clicked = clicked.merge(items[["item_id", "category"]], on="item_id")
        classifier = train(
            [
                *zip(items["title"], items["category"], strict=True),
                *zip(clicked["query"], clicked["category"], strict=True),
            ]
        )
        metrics: dict[str, float | str] = {
            "items": float(len(items)),
            "categories": float(len(classifier.categories)),
            "version": classifier.version[:12],
        }
        return StageOutput(files=classifier.to_files(), metrics=metrics)
