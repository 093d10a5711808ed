"""The tokenizer of the `tiny` backbone: a unigram model whose pieces are shopper phrases.

A small model that must spell a query from sub-words spends its capacity on spelling. Here a
common query is one piece, a modifier (" organic") another, and anything else falls back to
words and characters, so every normalised text still has a tokenization. Built from the logs
before the base model's cut-off only.
"""

import math
import string
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from aigq_tasks.context.tokens import SPECIAL_TOKENS

PAD, EOS, UNK = "<pad>", "<eos>", "<unk>"
_ALPHABET = string.ascii_lowercase + string.digits + " +-$<>_"


def split_modifiers(counts: Mapping[str, int], prefixes: int) -> tuple[Counter[str], list[str]]:
    """Find the endings (one or two words) that follow at least `prefixes` different phrases
    which also occur alone; return the counts with those endings taken off, and the endings."""
    endings: Counter[str] = Counter()
    for phrase in counts:
        words = phrase.split(" ")
        for cut in range(1, min(3, len(words))):
            if " ".join(words[:-cut]) in counts:
                endings[" " + " ".join(words[-cut:])] += 1
    modifiers = sorted(ending for ending, n in endings.items() if n >= prefixes)
    stems: Counter[str] = Counter()
    for phrase, count in counts.items():
        ending = max((m for m in modifiers if phrase.endswith(m)), key=len, default="")
        stem = phrase.removesuffix(ending)
        stems[stem if ending and stem in counts else phrase] += count
    return stems, modifiers


def build_tokenizer(
    counts: Mapping[str, int], phrases: int, words: int, whole: Iterable[str] = ()
) -> Any:
    """A `PreTrainedTokenizerFast` over the `phrases` most frequent phrases and `words` words.

    counts: normalised phrase -> occurrences in the log; whole: other texts to keep as one piece
    (profile words). Ties are broken by the text, so equal counts give equal bytes.
    """
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    stems, modifiers = split_modifiers(counts, prefixes=120)
    top = sorted(stems.items(), key=lambda item: (-item[1], item[0]))[:phrases]
    by_word: Counter[str] = Counter()
    for phrase, count in counts.items():
        first, *rest = phrase.split(" ")
        by_word[first] += count
        for word in rest:
            by_word[" " + word] += count
    common = sorted(by_word.items(), key=lambda item: (-item[1], item[0]))[:words]

    total = float(sum(stems.values()))
    scores: dict[str, float] = {phrase: math.log(count / total) for phrase, count in top}
    for piece in [*modifiers, *sorted(whole)]:
        scores.setdefault(piece, math.log(0.02))
    # A word costs more than any phrase, a character more than any word: whole phrases win.
    for word, count in common:
        scores.setdefault(word, -14.0 + math.log(count / total) / 10)
    for char in _ALPHABET:
        scores.setdefault(char, -24.0)
    vocabulary = [(UNK, -100.0), *sorted(scores.items(), key=lambda item: (-item[1], item[0]))]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=False))
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
    return fast
