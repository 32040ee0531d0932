"""What benches/peers/trtllm.sh asks of trtllm-bench, as files: `requests.jsonl` and `arguments.yaml`.

    trtllm_work.py MODEL FOLDER REQUESTS INPUT OUTPUT [NAME=VALUE...]

Requests are ids of exact length, uniform over the vocabulary but for its first ids, often special. The arguments are JSON, which is YAML.
"""

import json
import random
import sys
from pathlib import Path


def value_of(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def main():
    model, folder = map(Path, sys.argv[1:3])
    requests, length, output = map(int, sys.argv[3:6])
    vocab_size = json.loads((model / "config.json").read_text())["vocab_size"]
    draw = random.Random(1)
    with (folder / "requests.jsonl").open("w") as file:
        for number in range(requests):
            ids = [draw.randrange(vocab_size // 16, vocab_size) for _ in range(length)]
            print(json.dumps({"task_id": number, "input_ids": ids, "output_tokens": output}), file=file)
    pairs = (pair.split("=", 1) for pair in sys.argv[6:])
    (folder / "arguments.yaml").write_text(json.dumps({name: value_of(value) for name, value in pairs}))


if __name__ == "__main__":
    main()
