"""What people look at, and the studies and trainings that they start by hand."""

import json
from datetime import date, time
from pathlib import Path
from typing import Annotated

import typer

from aigq_tasks.cli.options import open_context, parse_day, parse_time

app = typer.Typer()

LastDay = Annotated[date, typer.Option("--to", parser=parse_day, help="The last released day.")]
Seeds = Annotated[
    list[int], typer.Option("--seed", help="A seed of the trainings; may be repeated.")
]


@app.command(rich_help_panel="Look")
def hints(
    user: Annotated[str, typer.Option("--user", help="User id, e.g. h1010.")],
    day: Annotated[
        date | None,
        typer.Option(
            "--day", parser=parse_day, help="The day to serve (default: after the release)."
        ),
    ] = None,
    at: Annotated[
        time | None,
        typer.Option(
            "--at",
            parser=parse_time,
            metavar="HH:MM:SS",
            help="The time of the request; it needs the log of the day (default: as it begins).",
        ),
    ] = None,
) -> None:
    """Print what the current release would show a user: query, source, score, release."""
    from aigq_tasks.cli.printing import print_hints

    print_hints(open_context(), user, day, at=at)


@app.command("x2q-lookup", rich_help_panel="Look")
def x2q_lookup(
    trigger: Annotated[
        list[str], typer.Option("--trigger", help="A query or an item's text; may be repeated.")
    ],
    day: Annotated[
        date | None,
        typer.Option(
            "--day", parser=parse_day, help="The day served (default: the newest release)."
        ),
    ] = None,
) -> None:
    """Print the queries that a trigger leads to in the current release."""
    from aigq_tasks.cli.printing import print_lookup

    print_lookup(open_context(), trigger, day)


@app.command(rich_help_panel="Look")
def report(
    out: Annotated[
        Path | None, typer.Option(help="Also write it as Markdown, with all arms and intervals.")
    ] = None,
) -> None:
    """The table of days: click model, rewards, hit rates, verdict, release."""
    from aigq_tasks.cli.printing import print_report

    print_report(open_context(), out)


@app.command("market-card", rich_help_panel="Look")
def market_card(
    out: Annotated[Path, typer.Option(help="Where to write the card.")] = Path("market-card.md"),
    households: Annotated[
        int, typer.Option(min=1, help="Of the market with intent: how many see hints.")
    ] = 600,
) -> None:
    """Write the market card: what its log looks like, and what is to win in it.

    Of the market with intent (`market.intent`): public facts beside its own, all intents side by
    side; about five minutes for each on one core, no services needed. Of the first market:
    marginals of the landed days and the baselines on them.
    """
    from aigq_tasks.settings import load_settings

    settings = load_settings()
    if settings.market.intent == "none":
        from aigq_tasks.pipeline.preflight import preflight
        from aigq_tasks.reports.baselines import baselines, hint_days, hint_logs
        from aigq_tasks.sources.market.card import card

        ctx = open_context()
        preflight(("s3",), ctx)
        out.write_text(card(hint_days(ctx), hint_logs(ctx), baselines(ctx)))
    else:
        from aigq_tasks.sources.market.intent.card import card_of_all

        out.write_text(card_of_all(settings.seed, households))
    print(f"market card written to {out}")


@app.command(rich_help_panel="Look")
def study(
    last: LastDay,
    seeds: Seeds,
    variants: Annotated[
        list[str], typer.Option("--variant", help="What trains; may be repeated.")
    ] = ["il-grpo", "grpo"],  # noqa: B006  typer copies it
    out: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("study.md"),
) -> None:
    """Train the released days again with other seeds: does IL-GRPO help, and is it luck?

    Variants: il-grpo (as the daily loop trains), grpo (one advantage per list), "il-grpo, equal
    bounds", "il-grpo, no entropy bonus". Five to ten minutes per seed and variant on 2 cores for
    five days; resumes where it stopped; releases nothing.
    """
    from aigq_tasks.research.study import study as run_study

    out.write_text(run_study(open_context(), last, variants, seeds))
    print(f"study written to {out}")


@app.command(rich_help_panel="Look")
def ablation(
    last: LastDay,
    seeds: Seeds,
    out: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("ablation.md"),
) -> None:
    """Train both variants with one part of their samples changed: what is each part worth?

    One to two hours per seed on 2 cores, most of it for the long prompts; resumes where it
    stopped; releases nothing.
    """
    from aigq_tasks.research.ablation import ablation as run_ablation

    out.write_text(run_ablation(open_context(), last, seeds))
    print(f"ablation written to {out}")


@app.command(rich_help_panel="Look")
def ab(
    arms: Annotated[
        list[str], typer.Option("--arm", help="An arm, the control first; two or more.")
    ],
    first: Annotated[
        date, typer.Option("--from", parser=parse_day, help="The first day; a release served it.")
    ],
    last: Annotated[date, typer.Option("--to", parser=parse_day, help="The last day.")],
    seed: Annotated[
        int, typer.Option(help="Of the draws of what is shown; another seed, another test.")
    ] = 17,
    out: Annotated[
        Path, typer.Option(help="Where to write the report; its chart lies beside it.")
    ] = Path("ab.md"),
) -> None:
    """Let arms answer the same requests, each with a chain of days of its own: who gets clicked?

    Arms: classic (no language model, no clusters), classic-again (the same, drawn anew: A/A),
    cluster (with counts over clusters of queries), u2q, x2q, all (that with policies frozen),
    il-grpo, grpo (AIGQ-Direct updated daily). About a minute per arm and day on 2 cores; resumes
    where it stopped; releases nothing.
    """
    from aigq_tasks.research.ab import ab as run_ab
    from aigq_tasks.research.ab import chart, people_of
    from aigq_tasks.research.ab import report as ab_report

    ctx = open_context()
    outcomes = run_ab(ctx, arms, first, last, seed)
    people, label = people_of(ctx, outcomes), ctx.source.label
    out.write_text(ab_report(outcomes, people, label, ctx.settings.seed))
    out.with_suffix(".png").write_bytes(chart(outcomes, people, label, ctx.settings.seed))
    print(f"A/B test written to {out}, its chart to {out.with_suffix('.png')}")


@app.command(rich_help_panel="Models")
def pretrain(
    out: Annotated[Path, typer.Option(help="Folder for the model; resumes from its checkpoint.")],
    steps: Annotated[int | None, typer.Option(help="Fewer steps, for a trial.")] = None,
    threads: Annotated[int, typer.Option(help="torch threads; another number, other bytes.")] = 1,
) -> None:
    """Train the `tiny` base model on behaviours before 2017-09-01 (hours on a CPU)."""
    from aigq_tasks.research.base_model import Past, train_base
    from aigq_tasks.sources.market import pretraining
    from aigq_tasks.sources.market.source import FIRST_DAY

    past = Past(pretraining.SOURCE, pretraining.TEXTS, FIRST_DAY, pretraining.behaviours_between)
    quality = train_base(past, out, steps, threads)
    print(f"base model written to {out}: {json.dumps(quality)}")
