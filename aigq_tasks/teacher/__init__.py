"""What a large language model is asked for: candidates, a judge's verdicts, rationales."""
