"""Stage `categories`: the leaf-category classifier, trained once before the launch and versioned.

Query categories feed Cate HR, Unique Cates and the click model's features. One version serves
until somebody trains a new one, so figures of different days compare.
"""

from datetime import date

from aigq_tasks.pipeline.calendar import history
from aigq_tasks.pipeline.given import Given
from aigq_tasks.pipeline.reads import Logs
from aigq_tasks.pipeline.stage import Output, Slice, Stage


class CategorySlice(Slice):
    """Nothing can be turned."""


def compute(given: Given, settings: CategorySlice, day: date) -> Output:
    """Titles of the items in the log, and queries that led to a click on one → leaf category."""
    from aigq_tasks.evaluation.category import train

    logs = given.logs("history")
    items = logs["items"].drop_duplicates("item_id", keep="last")
    clicked = logs["search_clicks"].merge(logs["searches"][["event_id", "query"]], on="event_id")
    clicked = clicked.merge(items[["item_id", "category"]], on="item_id")
    classifier = train(
        [
            *zip(items["title"], items["category"], strict=True),
            *zip(clicked["query"], clicked["category"], strict=True),
        ]
    )
    return Output(
        files=classifier.to_files(),
        metrics={
            "items": float(len(items)),
            "categories": float(len(classifier.categories)),
            "version": classifier.version[:12],
        },
    )


CATEGORIES = Stage(
    name="categories",
    needs=("s3", "mlflow"),
    reads=(Logs("history", ("items", "searches", "search_clicks"), history),),
    settings=lambda settings: CategorySlice(),
    compute=compute,
)
