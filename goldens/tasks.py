"""fixtures/tasks.json: what lm-evaluation-harness 0.4 makes of real documents, as numbers.

    python goldens/tasks.py --smollm2 DIR --data DIR [--documents 2] [--output FILE]

DATA holds TASK.SPLIT.jsonl of nine data sets as published; sciq, copa and mmlu are the few documents of our own in
fixtures/tasks. Prompts, few-shot draws and scoring are the harness's, its task files are only pointed at local data. Written are,
for each task and document, the log-likelihood of each choice (f32) and what the document counts for in each metric; and for each
pair of REQUESTS the log-likelihood and whether greedy decoding gives the continuation. Not pinned in requirements.txt: the
harness brings many packages (`pip install lm-eval==0.4.13 scikit-learn`).
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}

import pyarrow
import torch
from lm_eval import evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from pyarrow import parquet

from fixtures import FIXTURES, save_json

OWN = FIXTURES / "tasks"
# task of the harness: file, evaluated split
TASKS = {
    "lambada_openai": ("lambada_openai", "test"),
    "hellaswag": ("hellaswag", "validation"),
    "piqa": ("piqa", "validation"),
    "arc_easy": ("arc_easy", "test"),
    "arc_challenge": ("arc_challenge", "test"),
    "winogrande": ("winogrande_xl", "validation"),
    "boolq": ("boolq", "validation"),
    "rte": ("rte", "validation"),
    "openbookqa": ("openbookqa", "test"),
    "sciq": ("sciq", "test"),
    "copa": ("copa", "validation"),
}
SUBJECTS = ("astronomy", "elementary_mathematics")
LONG = "The river was old and the bridge was new. " * 12
# context, continuation: ends in a space, in two; continuation without a space that merges with the context; empty context;
# a continuation that begins with the prefix token; longer than the limit of 64 tokens
REQUESTS = [
    ("The capital of France is ", "Paris"),
    ("The capital of France is  ", "Paris"),
    ("The capital of France is", " Paris"),
    ("The capital of Fran", "ce is Paris"),
    ("Question: is it so?\nAnswer:\n", "yes"),
    ("", "Once upon a time"),
    ("", "<|im_start|>Once upon a time"),
    ("One two three four", " five six"),
    (LONG, "The end was near."),
]
LIMIT = 64
SPLITS = ("training_split", "validation_split", "test_split")


def local(manager: TaskManager, name: str, evaluated: str, files: dict[str, Path], **changes: object) -> ConfigurableTask:
    """The harness's task over local files of its splits, evaluated on one of them."""
    given = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": {k: str(v) for k, v in files.items()}}}
    splits = dict.fromkeys(SPLITS) | {"test_split" if evaluated == "test" else "validation_split": evaluated}
    # the public way, `load`, takes a dictionary for a whole task; this one adds to the harness's own
    task = manager._factory.build(manager._entry(name), overrides=given | splits | changes, registry=manager._index)
    task.set_fewshot_seed(seed=1234)
    return task


def labelled(path: Path, folder: str) -> Path:
    """BoolQ as the harness's data set has it: `label` for `answer`."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    out = Path(folder) / "boolq.jsonl"
    out.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "answer"} | {"label": int(row["answer"])}) + "\n" for row in rows))
    return out


def tasks(manager: TaskManager, data: Path, folder: str) -> dict[str, ConfigurableTask]:
    """Name in the fixture: task."""
    found = {}
    for name, (file, split) in TASKS.items():
        path = next(base / f"{file}.{split}.jsonl" for base in (data, OWN) if (base / f"{file}.{split}.jsonl").exists())
        path = labelled(path, folder) if name == "boolq" else path
        found[name] = local(manager, name, split, {split: path})
    for subject in SUBJECTS:
        files = {split: Path(folder) / f"{subject}.{split}.jsonl" for split in ("dev", "test")}
        for split, path in files.items():
            rows = (OWN / f"mmlu.{split}.jsonl").read_text().splitlines()
            path.write_text("".join(row + "\n" for row in rows if json.loads(row)["subject"] == subject))
        found[f"mmlu:{subject}"] = local(manager, f"mmlu_{subject}", "test", files)
        found[f"mmlu:{subject}, 2 examples"] = local(manager, f"mmlu_{subject}", "test", files, num_fewshot=2)
    # examples are drawn from a file of the same form
    files = {"test": data / "arc_easy.test.jsonl", "train": data / "arc_challenge.test.jsonl"}
    found["arc_easy, 3 examples"] = local(manager, "arc_easy", "test", files, training_split="train", num_fewshot=3)
    files = {"validation": data / "winogrande_xl.validation.jsonl", "train": data / "winogrande_xl.validation.jsonl"}
    found["winogrande, 2 examples"] = local(manager, "winogrande", "validation", files, training_split="train", num_fewshot=2)
    files = {"test": data / "lambada_openai.test.jsonl"}
    found["lambada_openai, 1 example"] = local(manager, "lambada_openai", "test", files, num_fewshot=1)
    return found


def documents(samples: list[dict]) -> list[dict]:
    """What a fixture says of each document, as numbers."""
    kept = []
    for sample in sorted(samples, key=lambda sample: sample["doc_id"]):
        answers = [answer[0] if isinstance(answer, list) else answer for answer in sample["filtered_resps"]]
        metrics = {name: sample[name] for name in sample["metrics"] if name != "perplexity"}
        kept.append({"document": sample["doc_id"], "log_likelihoods": [float(answer[0]) for answer in answers], **metrics})
    return kept


def pairs(model: HFLM) -> list[dict]:
    """Log-likelihood and greedy flag of each of the REQUESTS."""
    instances = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(REQUESTS)]
    answers = model.loglikelihood(instances, disable_tqdm=True)
    return [
        {"context": context, "continuation": continuation, "log_likelihood": answer, "greedy": greedy}
        for (context, continuation), (answer, greedy) in zip(REQUESTS, answers)
    ]


def save_parquet() -> None:
    """The rows of a file of our own as the Hub has them."""
    lines = (OWN / "openbookqa.train.jsonl").read_text().splitlines()
    parquet.write_table(pyarrow.Table.from_pylist([json.loads(line) for line in lines]), OWN / "openbookqa.train.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=Path, required=True, help="folder of SmolLM2-135M-Instruct")
    parser.add_argument("--data", type=Path, required=True, help="folder of TASK.SPLIT.jsonl")
    parser.add_argument("--documents", type=int, default=2, help="of each task; 2 of those with examples")
    parser.add_argument("--only", nargs="*", help="tasks [default: all]")
    parser.add_argument("--output", type=Path, default=FIXTURES / "tasks.json")
    arguments = parser.parse_args()
    save_parquet()
    torch.set_num_threads(2)
    model = HFLM(pretrained=str(arguments.smollm2), device="cpu", dtype="float32", batch_size=1)
    limited = HFLM(pretrained=str(arguments.smollm2), device="cpu", dtype="float32", batch_size=1, max_length=LIMIT)
    result, seconds = {"limit": LIMIT, "requests": pairs(limited)}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, task in tasks(TaskManager(), arguments.data, folder).items():
            if arguments.only and name not in arguments.only:
                continue
            started = time.process_time()
            named = {"tasks": {task.task_name: task}, "groups": {}, "group_map": {}}
            limit = min(arguments.documents, 2) if "example" in name else arguments.documents
            found = evaluate(model, named, limit=limit, bootstrap_iters=0)
            seconds[name] = time.process_time() - started
            result[name] = documents(found["samples"][task.task_name])
            print(f"{name}: {len(result[name])} documents in {seconds[name]:.1f} s of processor time", flush=True)
    print(f"all: {sum(seconds.values()):.1f} s of processor time")
    save_json(arguments.output, result)


if __name__ == "__main__":
    main()
