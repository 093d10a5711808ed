"""A small OpenAI-compatible chat server: `python chat_server.py PORT [DIES_AFTER_N_QUESTIONS]`.

It answers by the task that names the JSON schema: candidates are the words of the user message,
the judge keeps query 1, all of query 1 follows from line 1. The model's name asks for the ways in
which servers misbehave; GET /asked tells how many questions came in.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse

app = FastAPI()
asked: Counter[str] = Counter()
DIES_AFTER = int(sys.argv[2]) if len(sys.argv) > 2 else 0


@app.get("/health")
def health() -> dict[str, bool]:
    return {"ok": True}


@app.get("/asked")
def questions() -> dict[str, int]:
    return dict(asked)


@app.post("/v1/chat/completions")
async def chat(body: dict[str, Any]) -> Any:
    model, question = body["model"], body["messages"][-1]["content"]
    asked[f"{model} {question}"] += 1
    nth = asked[f"{model} {question}"]
    if model == "slow":
        await asyncio.sleep(30)
    if model == "busy" and nth == 1:
        return JSONResponse({"error": {"message": "busy"}}, 503, {"Retry-After": "0.05"})
    if model == "refuses":
        return JSONResponse({"error": {"message": "no such model"}}, 404)
    if 0 < DIES_AFTER < sum(asked.values()):
        os._exit(1)
    answers = {
        "candidates": {"queries": question.split()},
        "judge": {"keep": [1]},
        "explain": {"interests": [{"why": "Line one!", "history": [1], "queries": [1]}]},
    }
    text = json.dumps(answers[body["response_format"]["json_schema"]["name"]])
    if model == "babbles" or (model == "stutters" and nth == 1):
        text = "Sure! Here you are: " + text
    words = len(question.split())
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {
            "prompt_tokens": 10 * words,
            "completion_tokens": words,
            "total_tokens": 11 * words,
        },
    }


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
