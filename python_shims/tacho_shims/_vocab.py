"""Which token ids are ordinary: from the files of a model folder, the same for every engine that reads such folders."""

import json
import pathlib
import re

# <0x0A>: a byte that the vocabulary has no piece for. [unused7], <unused_7>: rows that training never saw.
_NOT_ORDINARY = re.compile(r"<0x[0-9A-Fa-f]{2}>|[<\[]\|?(?:unused|reserved|extra_id)[ _]?\w*\|?[>\]]")


def ordinary_ids(folder, vocab_size):
    """Half-open ranges of the ids that prompts may be drawn from: none special, added, unused or byte-fallback.

    A folder without `tokenizer.json` (a shape model) has no text to say so: all ids but those its configuration names.
    """
    folder = pathlib.Path(folder)
    path = folder / "tokenizer.json"
    if not path.is_file():
        print(f"{folder} has no tokenizer.json: all ids are ordinary but those that its configuration names")
        return ranges(set(range(vocab_size)) - _named_ids(folder))
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    added = set(tokenizer.get_added_tokens_decoder())
    pieces = tokenizer.get_vocab(with_added_tokens=False)
    keep = {
        number
        for piece, number in pieces.items()
        if number < vocab_size and number not in added and not _NOT_ORDINARY.fullmatch(piece)
    }
    return ranges(keep - _named_ids(folder))


def _named_ids(folder):
    """Ids that the model's configuration gives a meaning: beginning, end, padding."""
    found = set()
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        if path.is_file():
            for key, value in json.loads(path.read_text()).items():
                if key.endswith("_token_id") and value is not None:
                    found.update(value if isinstance(value, list) else [value])
    return found


def ranges(ids):
    """Sorted, disjoint half-open ranges that hold exactly `ids`."""
    out = []
    for number in sorted(ids):
        if out and out[-1][1] == number:
            out[-1] = (out[-1][0], number + 1)
        else:
            out.append((number, number + 1))
    return out
