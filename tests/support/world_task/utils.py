"""What lmms-eval asks of a task: questions about generated videos, right if the answer is as it should be."""


def doc_to_visual(doc: dict) -> list[str]:
    return [doc["video"]]


def doc_to_text(doc: dict, lmms_eval_specific_kwargs: dict | None = None) -> str:
    return doc["question"]


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    return {"right": float(results[0] == doc["answer"])}
