"""Make fixtures/tokenizers/{siglip_pieces,clip_files} and fuzz/seeds/tokenizer.

    pip install transformers==5.23.0 sentencepiece==0.2.3 tokenizers==0.23.3 protobuf
    python scripts/make_tokenizer_fixtures.py

The folders are written by the originals: a SentencePiece model that is learnt from a few sentences and saved by
SiglipTokenizer, and the vocab.json and merges.txt of a tiny CLIPTokenizer. Expected ids are those of AutoTokenizer for the
folder, and of SentencePiece itself.
"""
import base64, json, os, shutil, sys, tempfile

import sentencepiece
import tokenizers
import transformers
from transformers import AutoTokenizer
from transformers.models.siglip.tokenization_siglip import SiglipTokenizer

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SENTENCES = [
    "a photo of a dog", "two dogs play in the park", "a red circle and a blue square",
    "the quick brown fox jumps over the lazy dog", "photos of cats and dogs 3 of them", "hello world its me",
    "café naïve ê ế 한국 日本語", "οδος σας istanbul strasse ½ ～",
]
TEXTS = [
    "a photo of a dog", "  A photo!  ", "! hello", "", "...", "_", "A_B snake_case", "don't!", "3.14 > 2 & <b>",
    "café", "cafe\u0301", "e\u0302\u0301 x", "ｅ\u0301", "a\u0300\u0301\u0302", "한국", "\u1112\u1161\u11ab", "日本語 テキスト",
    "ＦＵＬＬ　width", "ﬁne ligature", "ΟΔΟΣ ΣΑΣ Σ", "İstanbul", "ß STRASSE", "①②③ ½ ™ ﷺ", "x~y ～ z",
    "a\u200bb", "\U0001f469\u200d\U0001f469\u200d\U0001f467 family", "a\tb\nc\r\nd", "\x1cx\x1d y", "\u00a0nbsp\u00a0", "\ufeffbom",
    "a  b   c", "▁x", "▁▁ a", "a ▁ b", "a </s> b", "</s>", "x</s>", "</s></s> a", "<unk> dog", "<pad> q",
    "<|endoftext|> x <|startoftext|>", "hello world, it's me 's 'S", "the quick brown fox " * 3,
]
CONTEXT = 16


def cases(folder, tokenizer, raw=None):
    rows = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=CONTEXT)
    out = {"length": CONTEXT, "pad_id": tokenizer.pad_token_id, "cases": []}
    for text, row in zip(TEXTS, rows["input_ids"]):
        case = {"text": text, "ids": tokenizer(text)["input_ids"], "row": row}
        # SentencePiece takes no part of a text for a special token, and a leading space for none.
        if raw is not None and "<" not in text and not text[:1].isspace():
            case["sentencepiece"] = raw.encode(text)
        out["cases"].append(case)
    with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as f:
        json.dump(out, f, ensure_ascii=False, indent=1)
        f.write("\n")


def meta(folder, name, description, files, notes):
    versions = {"python": sys.version.split()[0], "transformers": transformers.__version__,
                "sentencepiece": sentencepiece.__version__, "tokenizers": tokenizers.__version__}
    text = {"fixture": "tokenizers/" + name, "description": description, "generated_with": versions,
            "reference": "transformers.AutoTokenizer.from_pretrained(folder)", "notes": notes, "files": files}
    with open(os.path.join(folder, "meta.json"), "w", encoding="utf-8") as f:
        json.dump(text, f, ensure_ascii=False, indent=1)
        f.write("\n")


def fresh(name):
    folder = os.path.join(ROOT, "fixtures/tokenizers", name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


def rules(path):
    """Those of SentencePiece's rules nmt_nfkc that the texts need: all of them are 240 KB."""
    normalizer = sentencepiece.SentencePieceNormalizer(
        rule_name="nmt_nfkc", add_dummy_prefix=False, remove_extra_whitespaces=False, escape_whitespaces=False)
    found = {}
    for text in TEXTS:
        for length in (1, 2, 3):
            for at in range(len(text) - length + 1):
                part = text[at : at + length]
                apart = "".join(normalizer.normalize(c) for c in part) if length > 1 else part
                if normalizer.normalize(part) != apart:
                    found[part] = normalizer.normalize(part)
    points = lambda text: " ".join(f"{ord(c):X}" for c in text)
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(f"{points(part)}\t{points(found[part])}\n" for part in sorted(found) if "\0" not in part)


def siglip_pieces():
    folder = fresh("siglip_pieces")
    with tempfile.TemporaryDirectory() as scratch:
        text = os.path.join(scratch, "text")
        with open(text, "w", encoding="utf-8") as f:
            f.write("\n".join(SENTENCES * 8))
        rules(os.path.join(scratch, "rules"))
        sentencepiece.SentencePieceTrainer.train(
            input=text, model_prefix=os.path.join(scratch, "spiece"), vocab_size=150, character_coverage=1.0, pad_id=0,
            eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
            normalization_rule_tsv=os.path.join(scratch, "rules"))
        SiglipTokenizer(os.path.join(scratch, "spiece.model")).save_pretrained(folder)
    raw = sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, "spiece.model"))
    cases(folder, AutoTokenizer.from_pretrained(folder), raw)
    meta(folder, "siglip_pieces", "A SentencePiece model of SiglipTokenizer", {
        "spiece.model": {"meaning": "the pieces and the normaliser"},
        "tokenizer_config.json": {"meaning": "class, padding, case"},
        "cases.json": {"meaning": "strings; ids of SiglipTokenizer, row of CONTEXT, ids of SentencePiece itself"},
    }, ["Padding is </s>, id 1.", "A caption that spells </s> has that token; a second one is not added at its end."])


def clip_files():
    folder = fresh("clip_files")
    alphabet = sorted(set(transformers.convert_slow_tokenizer.bytes_to_unicode().values()))
    merges = [("d", "o"), ("do", "g</w>"), ("t", "h"), ("th", "e</w>"), ("p", "h"), ("ph", "o"), ("pho", "t"),
              ("phot", "o</w>"), ("b", "r"), ("o", "w"), ("ow", "n</w>"), ("br", "own</w>")]
    vocab = alphabet + [c + "</w>" for c in alphabet] + [a + b for a, b in merges] + ["<|startoftext|>", "<|endoftext|>"]
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as f:
        json.dump({token: i for i, token in enumerate(vocab)}, f, ensure_ascii=False)
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump({"tokenizer_class": "CLIPTokenizer", "pad_token": "!", "model_max_length": 77}, f)
    with open(os.path.join(folder, "special_tokens_map.json"), "w", encoding="utf-8") as f:
        json.dump({"pad_token": {"content": "<|endoftext|>", "lstrip": False, "normalized": True, "rstrip": False,
                                 "single_word": False}}, f)
    cases(folder, AutoTokenizer.from_pretrained(folder))
    meta(folder, "clip_files", "A tiny CLIPTokenizer in the files of transformers 4", {
        "vocab.json": {"meaning": "tokens and ids"},
        "merges.txt": {"meaning": "pairs of symbols, in order"},
        "tokenizer_config.json": {"meaning": "class and length"},
        "special_tokens_map.json": {"meaning": "overrules the padding of tokenizer_config.json"},
        "cases.json": {"meaning": "strings; ids, row of CONTEXT"},
    }, ["special_tokens_map.json comes before tokenizer_config.json where that has no added_tokens_decoder."])


def seeds():
    folder = os.path.join(ROOT, "fuzz/seeds/tokenizer")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)

    def seed(name, files):
        parts = [key.encode() + b"\n" + (value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode())
                 for key, value in files.items()]
        with open(os.path.join(folder, name), "wb") as f:
            f.write(b"\n-----\n".join(parts))

    with tempfile.TemporaryDirectory() as scratch:
        text = os.path.join(scratch, "text")
        with open(text, "w", encoding="utf-8") as f:
            f.write("\n".join(["a photo of a dog", "two dogs"] * 8))
        with open(os.path.join(scratch, "rules"), "w", encoding="utf-8") as f:
            f.write("65 301\tE9\n2581\t20\n")
        sentencepiece.SentencePieceTrainer.train(
            input=text, model_prefix=os.path.join(scratch, "spiece"), vocab_size=40, character_coverage=1.0, pad_id=0,
            eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
            normalization_rule_tsv=os.path.join(scratch, "rules"))
        with open(os.path.join(scratch, "spiece.model"), "rb") as f:
            pieces = f.read()
    seed("siglip", {"spiece.model": pieces, "tokenizer_config.json": {"tokenizer_class": "SiglipTokenizer", "pad_token": "</s>"}})
    seed("t5", {"spiece.model": pieces, "tokenizer_config.json": {"tokenizer_class": "T5Tokenizer"}})
    unigram = {"version": "1.0", "added_tokens": [], "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "NFC"}, {"type": "Lowercase"}, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "</s>", "type_id": 0}}], "pair": [], "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
        "decoder": None, "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": False, "vocab": [
            ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["▁", -3.0], ["a", -3.5], ["▁dog", -1.5], ["s", -2.5]]}}
    seed("unigram", {"tokenizer.json": unigram, "tokenizer_config.json": {"tokenizer_class": "SiglipTokenizer", "do_lower_case": False}})
    vocab = {c: i for i, c in enumerate(["!", "a", "b", "a</w>", "b</w>", "ab</w>", "<|startoftext|>", "<|endoftext|>"])}
    seed("clip", {"vocab.json": vocab, "merges.txt": b"#version: 0.2\na b</w>\n", "tokenizer_config.json": {
        "tokenizer_class": "CLIPTokenizer", "padding_side": "left", "model_max_length": 77},
        "special_tokens_map.json": {"pad_token": {"content": "!", "lstrip": True}}, "added_tokens.json": {"<new>": 8}})
    seed("gpt2", {"vocab.json": vocab, "merges.txt": b"a b</w>\n", "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer"}})
    bpe = {"version": "1.0", "added_tokens": [{"id": 7, "content": "<|endoftext|>", "single_word": False, "lstrip": True,
        "rstrip": False, "normalized": False, "special": True}], "padding": {"strategy": "BatchLongest", "direction": "Right",
        "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "!"}, "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\w+|\\s"}, "behavior": "Isolated",
        "invert": False}, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}]},
        "post_processor": {"type": "RobertaProcessing", "cls": ["<|startoftext|>", 6], "sep": ["<|endoftext|>", 7],
        "trim_offsets": False, "add_prefix_space": False}, "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "dropout": 0.5, "unk_token": "!", "end_of_word_suffix": "</w>", "vocab": vocab, "merges": [["a", "b</w>"]]}}
    seed("bpe", {"tokenizer.json": bpe, "tokenizer_config.json": {"added_tokens_decoder": {"8": {"content": "<new>", "rstrip": True}}}})
    seed("bert", {"vocab.txt": b"[PAD]\n[UNK]\n[CLS]\n[SEP]\ndog\n##s\na\n", "tokenizer_config.json": {
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": False}})
    precompiled = dict(unigram, normalizer={"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap(pieces)).decode()})
    seed("precompiled", {"tokenizer.json": precompiled})


def charsmap(model):
    from transformers.convert_slow_tokenizer import import_protobuf

    proto = import_protobuf().ModelProto()
    proto.ParseFromString(model)
    return proto.normalizer_spec.precompiled_charsmap


if __name__ == "__main__":
    siglip_pieces()
    clip_files()
    seeds()
