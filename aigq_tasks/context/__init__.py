"""Text that models read and write: what a query is, what a prompt holds, what a target is.

    queries     the normal form, and what may be shown
    attributes  free attributes of users and items
    prompt      behaviours -> prompt, list -> target (AIGQ-Direct)
    interests   interest points as a target and back (AIGQ-Think)
    item_text   an item's attributes -> prompt
    tokens      the special tokens

Imports nothing of `aigq_tasks`; torch only inside the function that changes a model.
"""
