"""IL-GRPO on any Hugging Face causal LM: from random words to lists of drinks in three steps. A
random GPT-2 of ten words stands in for yours; what from_pretrained returns goes the same way."""

import numpy as np
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerFast, set_seed

from aigq_tasks.context.tokens import SEP, add_special_tokens
from aigq_tasks.policy import ILGRPOTrainer, ListLayout, generate_lists, train_arguments
from aigq_tasks.policy.config import GrpoConfig, PolicySample

UNK, EOS = "<unk>", "<eos>"
DRINKS, FOOD = ["milk", "tea", "beer", "juice"], ["bread", "rice", "fish", "salt", "corn", "nuts"]
words = {word: i for i, word in enumerate([UNK, EOS, *DRINKS, *FOOD])}
spelling = Tokenizer(models.WordLevel(words, unk_token=UNK))
spelling.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=spelling, unk_token=UNK, eos_token=EOS)
set_seed(0)
size = {"vocab_size": len(words), "n_embd": 32, "n_layer": 2, "n_head": 2}
model = AutoModelForCausalLM.from_config(GPT2Config(**size, bos_token_id=1, eos_token_id=1))
add_special_tokens(tokenizer, model, [SEP])  # what parts the queries of a list


def clicks(users: list[str], queries: list[str]) -> np.ndarray:  # what is liked: drinks, few words
    return np.array([0.25 * (q.split()[0] in DRINKS) / len(q.split()) for q in queries])


def reward() -> float:  # the mean of the three queries that the model would show each user
    lists = generate_lists(model, tokenizer, FOOD, 3)
    return float(np.mean([clicks([], one.queries) for one in lists]))


samples = [PolicySample(user_id=word, prompt=word, reference=DRINKS[:3]) for word in FOOD]
config = GrpoConfig(steps=3, prompts_per_step=6, generations=16, list_length=3, learning_rate=3e-2)
dataset = Dataset.from_list([vars(sample) for sample in samples])
own = {"layout": ListLayout(model, tokenizer, 3), "scorer": clicks, "config": config}
trainer = ILGRPOTrainer(model, train_arguments(config, seed=0), dataset, tokenizer, **own)
before, _, after = reward(), trainer.train(), reward()
print(f"click probability of a shown query: {before:.3f} before, {after:.3f} after")
