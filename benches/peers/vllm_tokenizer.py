"""Makes a tokenizer for a model folder that has none, so that `vllm bench throughput` can make its random texts.

A token is a word ("t7" is id 7) and texts are words with spaces between, so that encoding a decoded prompt gives it back.

    vllm_tokenizer.py MODEL_FOLDER OUT
"""

import json
import pathlib
import sys

from tokenizers import Tokenizer, models, pre_tokenizers


def main():
    model, out = map(pathlib.Path, sys.argv[1:3])
    vocab_size = json.loads((model / "config.json").read_text())["vocab_size"]
    words = {f"t{number}": number for number in range(vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "t0", "eos_token": "t2", "pad_token": "t1"}
    (out / "tokenizer_config.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
