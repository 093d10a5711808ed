"""Trainings that people start by hand: what learns from the released days, and releases nothing.

    study       the released days again with other seeds: does IL-GRPO help, and is it luck?
    ablation    IL-SFT with one part of the samples changed: what is each part worth?
    variants    what the ablation changes, and the training on it
    levels      rows of their tables: what arms score, and what changed
    judging     one arm of either: the seed of its training, its lists, their scores
    base_model  the committed base model and its card

Study and ablation are stages of names of their own: they resume where they stopped, and no release
ever refers to them. They return Markdown; the command line writes it. May import stages, serving,
pipeline, policy, evaluation and what lies below them; never reports, services or cli.
"""
