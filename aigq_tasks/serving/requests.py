"""What answers the requests of a day: the one way in, for the lander, the command and an API."""

from collections.abc import Mapping

import pandas as pd

from aigq_tasks.recall.config import Exposure
from aigq_tasks.serving.stack import ReleaseStack
from aigq_tasks.sources.base import Serve, Served


def answering(stack: ReleaseStack, release: str, exposure: Exposure, seed: int) -> Serve:
    """The stack, with exploration. release: what the log calls it; seed: of what is drawn."""

    def serve(requests: pd.DataFrame, so_far: Mapping[str, pd.DataFrame]) -> Served:
        from aigq_tasks.recall.exposure import expose

        answers = stack.asked(requests, so_far)
        shown = expose(answers.rankings, requests, exposure, seed)
        features = answers.features(shown)
        features["position"] = shown["position"]  # a feature too; whole numbers make it a key
        features.insert(0, "request_id", shown["request_id"].to_numpy())
        return Served(shown.assign(release=release), answers.rankings, features)

    return serve
