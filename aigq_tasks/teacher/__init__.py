"""What a large language model is asked for: candidates, a judge's verdicts, rationales.

    tasks     the three questions, and what their answers mean
    teachers  who answers: a language model, or the deterministic stand-in
    endpoint  an OpenAI-compatible server, asked each question only once ever
    config    where the server is

May import context and storage. A stage is handed an `Endpoint` (or none), so that it needs
neither settings nor a store to ask.
"""
