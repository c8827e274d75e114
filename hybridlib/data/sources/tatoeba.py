"""Tatoeba: sentences of 36 languages and their English translations (Artetxe and Schwenk, 2019), as XTREME takes them.

A query is a sentence of a language or of English, its only relevant passage the translation, so the accuracy that
XTREME reports is `recall@1` of the queries that are not English. The English sentences differ from pair to pair, and a
pair's pool is its own: each pair is a task, `tatoeba/<language>`, and XTREME's figure the mean over the 36. Only the
cross-lingual setting exists, since in the pool of its own language a sentence would find itself.

No sentence comes twice in a file. Of sentences with equal embeddings the earlier counts as nearer, as anywhere here.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hybridlib.data.sources.source import File, Source, fetch
from hybridlib.data.task import RetrievalTask

_REVISION = "fec5c7d63daa2bea9d127e8252b10e87278586c0"
# ISO 639-3, as the files are called, by ISO 639-1.
LANGUAGES = {
    "af": "afr",
    "ar": "ara",
    "bg": "bul",
    "bn": "ben",
    "de": "deu",
    "el": "ell",
    "es": "spa",
    "et": "est",
    "eu": "eus",
    "fa": "pes",
    "fi": "fin",
    "fr": "fra",
    "he": "heb",
    "hi": "hin",
    "hu": "hun",
    "id": "ind",
    "it": "ita",
    "ja": "jpn",
    "jv": "jav",
    "ka": "kat",
    "kk": "kaz",
    "ko": "kor",
    "ml": "mal",
    "mr": "mar",
    "nl": "nld",
    "pt": "por",
    "ru": "rus",
    "sw": "swh",
    "ta": "tam",
    "te": "tel",
    "th": "tha",
    "tl": "tgl",
    "tr": "tur",
    "ur": "urd",
    "vi": "vie",
    "zh": "cmn",
}
# Name after `tatoeba.`, bytes and SHA-256 of the files at the revision.
_PUBLISHED = """
afr-eng.afr 30586 7bb9e073ad8422d6bfdec7c9ebdcef8ac486e72b237200e447923a8b921a0a56
afr-eng.eng 29049 0b700c125efb4030b4cc50d9d765d5884afc24f39296f29b028a1b2a8512034f
ara-eng.ara 43582 e67a0ae072b79cd9e8eb09f166c3bc0b23488d39f5720f2ee0a8350ae17b719f
ara-eng.eng 29068 3c11838c963f598a52dcf2f452b666353538257001db5c59c3a5f54a999b336b
ben-eng.ben 65990 ac3385695d6a6c7e5d18e38ad4b8b7d3780f3df23dd0ff3f539071b8269a8613
ben-eng.eng 25713 67fbe75fec549d436c3356b6d6f8dd53179b6a908661b5d507d28c7fee83350e
bul-eng.bul 65500 f9fa90cf3599d8c87f7a6ed22f5d648e3ce6687c705656a8c8ea088d891f79d5
bul-eng.eng 36779 4b03b3b52ffb7cf4286e0c4453c90910a3021546f160bdf0e4d39d1f45bfbc0b
cmn-eng.cmn 33410 965d033966fcd186c89741ad49ab4b0a0b2bbd33e02666635ff3b2be23c1ac1f
cmn-eng.eng 35521 29ba36232488f5806aceccac57c59c5e750ddd08edb40eef417e3ada9ff9a239
deu-eng.deu 57121 edfa6f75a42554df388f45891735d5e4214158a99def4b73b5908af4a3054551
deu-eng.eng 48446 eb9cc83a42f2c4b22f310d05311207e41abb56c2a084666cac3ee0f84d2d0b84
ell-eng.ell 52202 4fb3d3d30bdafd15100dfad5c4680f8f2ed5ca87ed0a6122e2fe2aa21fee65e8
ell-eng.eng 26759 1f630710e718e2f85a4e757d3c7f3d6e78ded0b25c99653b4c552138318d9ffe
est-eng.eng 29732 bb033b10596178452aecf2d97ad25580251375e7d224d8b38dad3d93d69b1e4f
est-eng.est 29996 94856999ef35e5357502d7ecf50419d0108b99270e507d9c57f8b283bd1be9c5
eus-eng.eng 32008 1e80f0174ad544697fd69ddcf21287ca10c5e3cacba2fc42bf1d68c460d14ba2
eus-eng.eus 34060 4255fb70a6c268b09fcc59a9b308f0fcaaf45ef45e66fc55bf3c80eac4d8c97b
fin-eng.eng 35812 322e610359f4d24852e673bbe4524d52c26dbf980aca0760e95c66dc21ecd504
fin-eng.fin 39857 8db3c734f755d578445947f1182f40faf2a9a0eca37561dd248717c088802d60
fra-eng.eng 36291 5634220f8a26a9a23b84753a9aec0b0832e6bdaa9da3f83e0bd84c928c3f46e3
fra-eng.fra 43727 644172ff9642fefa9e41c29b7d6f44196518e84350dc44d4992e943c0cca92b6
heb-eng.eng 35840 73c27ed0f76c1d2da199230f05489749e10bb67ab879c6dfee8ca9807d6bd99c
heb-eng.heb 47660 4a07ca4b8a6fb7ab499791573a2454730f47acbe209359d7b9372a9f6094a102
hin-eng.eng 34090 adfce2269a55dbac69b25c0f4f6eb89e0f9383165485925a2e042e61b9480562
hin-eng.hin 88468 15e4fb0a394be4438319f1d6955d1aea226e2a8c5ad38798b23b76ae43d742ed
hun-eng.eng 33554 5323266e91ddee67ed1ae00d6bbac0cdf3d37749d1b2da3459bf0d424bc71383
hun-eng.hun 35335 56bd0682be8c1db6568313650b3310d641cc8d0019d12dd7caf201302350eeac
ind-eng.eng 34875 62a3f5127b60eb3526b8fa3994a68fa1a1f114f3a395307a8808a3517c05ffc5
ind-eng.ind 39969 4f03cd70cba071f746eacd3ebf6b60fd5a8377ce18b4cc52edec6721f05f352a
ita-eng.eng 31596 738bf8f981e42d285f4f08bc09238782d285b02050e6e95287aa4e998bb7b24b
ita-eng.ita 34237 9b3f369d0ed92273b46dd3b983721636e3d15024ce7125f5103229249c386d26
jav-eng.eng 6456 172776353690f6c047ea21da969fa6979980d692fff1cfbac17eb25851423760
jav-eng.jav 7457 ad88399db8f94c2a040aa53e7e862225964fac9308a3beb3d5b38f3eca2f827f
jpn-eng.eng 39239 b42129b34e1bf225ccc25fc00e532a6113af98adbc6605b93021bd8aadeb68b6
jpn-eng.jpn 53844 56040bd6949170a631039d9f8f4c6440db8761b0065c9686feba55c99a320d46
kat-eng.eng 21193 d70a14aa64fd7c6b545f11aea754a632e1cbecb91af27fcf6a98a8449a48a8e7
kat-eng.kat 50967 6ef69b5efbf355597ed91eb355b33a5f524bdf0875dbeaaccf6375badc20e29b
kaz-eng.eng 17491 0ab684e7032c6520540d5785adf00ef206d097221d0dd4dc9bcaabd64068e10d
kaz-eng.kaz 29687 f20c682582a80b6aa10f3b933db93bc314449b554ce611e263bc75990b319aef
kor-eng.eng 35085 f900cf3c9b72ed5a400e1804702863ff3df00be58eb060902e02285d0e68fab3
kor-eng.kor 44054 e550c84184ec35b1a0dab3154284719511a21746e53c40f46eb6ab08179e9188
mal-eng.eng 21765 4d80cdbb844cd4e33f874e5dc45c1cdda4f80998034448f7eb56b8b6532a6622
mal-eng.mal 72952 1a896f54f85a454fb0123864049c65921ae9dfd0cafda6deef8060f0104d965e
mar-eng.eng 27890 709d09b697dca053c814b9d525b72cb47cb011aa860c6598f3e2b1b3dd1280dd
mar-eng.mar 72652 b2931584fbe62062beb97cc939e4d208ace5ee56f15808860ab14e130fd3c576
nld-eng.eng 35397 3b8836749df573a53235b85ed6771f31bf2de428f520d2d6a1dd94b61b4ef057
nld-eng.nld 37866 d564d4ce1c621ccaefdbe9f5cb08eacccc7bf2a0b58666303e84ca9c7973bdb7
pes-eng.eng 34853 b5c6cf8c8d93ff8f2fe26b53f3ee29b62db9c6f7dcddcb086ba48953f4ce926b
pes-eng.pes 58866 f1553713723491fe5876e1060b18fb4abf0c77be3ba06db2e3307e83aedbbb32
por-eng.eng 35854 deb4568cfb7b7cbbc060a7fe97c4639fb4680842f4fcd28df791ffdbb753855a
por-eng.por 39331 b0c926a232c9889a87a1a970f9399c5618c2d95baf204321e9da794c0aec16f5
rus-eng.eng 33650 7b26f52d6085b7c4944d6f5f6f5b6e1932085b42112f1444db515ce59e878fb8
rus-eng.rus 58822 446ff2cae66053c2277d9735b2c2df6b786cae258385f7ade7bed68d8835c6a0
spa-eng.eng 34776 89e4470f4572040b1ca94b3edad97dcd8bd2f0141f072e12933b8659dadf917d
spa-eng.spa 37490 f9628cea40481e8251f0999718bd893cff0f261752f5e526b3bc20284e2ca018
swh-eng.eng 10822 e8539647caff9e329776ae863b6224d432923c6e4e9256b9df92ca58ff282eac
swh-eng.swh 9645 1c672915446c336cc378676e6dbf91eb54d27bbfd0c61563d349265bc6374753
tam-eng.eng 8888 e7c5106acdd100214a161970b2a5c31e7386e5b6a963e3d3afdf30412c90ac53
tam-eng.tam 30553 bde87fb1ddedccf6c7a2b70ffdd19a959a573c113c2e7a041c4b623fb2170bde
tel-eng.eng 6806 1efc2ef57d9b1ecebfc4baa45e86fd793e38473304e9c043aebabc3a1b29a294
tel-eng.tel 18337 7e1a1bcd106cce650a09e2f042f1354b55b29bea2bcfa86554dfa0ad12ce8976
tgl-eng.eng 31632 e7c9beda3f3072a968a34a7226a66d1ebf1dcb33cf002805dc752f80a7c620ae
tgl-eng.tgl 36506 f99165dc05190b99f6574fe24db884ff85d111612a25e7a37323f001aafc2a6e
tha-eng.eng 18439 2881c82d2c5fa59cf0a68bc9e012f5e0b0a716f7357cbecf77c247efc2fd7294
tha-eng.tha 44759 65c7b3c01a56a1ac8971e72e0ea8e74a027718dc84044d8802c0ab36395a3156
tur-eng.eng 34278 a768df7dd3d1344f872a458b32c3a65e24f8381826ccb16ba6677426176c8121
tur-eng.tur 37607 1ffa0acc006018b3105abda41a4d4ca42f3c122964a49b71793546367b079a86
urd-eng.eng 31893 dab35fda3f73b3fd86b6b9f9f9f6242430961aa5d1ac247adbc646867df79cec
urd-eng.urd 56819 2efc22dc61885a9454aeeee68c8b841c7f9138d53ba644a82308bd210140450b
vie-eng.eng 38686 a1f60bd8ae6c42224a4c050d2aa1ff4242d14827d64d7831e96ecf2b2c367f5f
vie-eng.vie 52721 6dbb02d778b0bfc8678cd85f87db76de55dd7e409a26fe32ad42d50e0f1fff77
"""


def _file(line: str) -> File:
    name, size, sha256 = line.split()
    url = f"https://raw.githubusercontent.com/facebookresearch/LASER/{_REVISION}/data/tatoeba/v1/tatoeba.{name}"
    return File(f"tatoeba/tatoeba.{name}", url, f"sha256:{sha256}", int(size))


SOURCES = (
    Source(
        name="tatoeba",
        title="Tatoeba, the 36 pairs of XTREME: find the English translation of a sentence, and the other way round",
        homepage="https://github.com/facebookresearch/LASER/tree/main/data/tatoeba/v1",
        revision=_REVISION,
        licence="CC BY 2.0 FR (Tatoeba)",
        citation="""@article{artetxe-schwenk-2019-massively,
    title = {Massively Multilingual Sentence Embeddings for Zero-Shot Cross-Lingual Transfer and Beyond},
    author = {Artetxe, Mikel and Schwenk, Holger},
    journal = {Transactions of the Association for Computational Linguistics},
    volume = {7},
    year = {2019},
    pages = {597--610},
}""",
        files=tuple(_file(line) for line in _PUBLISHED.strip().splitlines()),
    ),
)


def read_task(name: str, languages: Sequence[str] | None) -> RetrievalTask:
    """Read one pair, in both directions.

    Args:
        name: `tatoeba`.
        languages: the one that is paired with English.

    Returns:
        The task. Line n of German is the query and the passage `de-en:de:<n>`, counted from 1, of the question
        `de-en:<n>`.

    Raises:
        ValueError: not exactly one language is named, there is no such language, or a file is not as published or
            has no counterpart for a line, an empty line or one that is not UTF-8.
        FileNotFoundError: a file is missing.
    """
    allowed = ", ".join(LANGUAGES)
    if languages is None or len(languages) != 1:
        asked = None if languages is None else list(languages)
        raise ValueError(
            f"languages is {asked}; {name} is a task for each language, as every pair has English sentences of its "
            f"own: load {name}/<language>, where the language is one of {allowed}"
        )
    (language,) = languages
    if language not in LANGUAGES:
        raise ValueError(f"language is {language!r}; allowed in {name}: {allowed}")
    tables = [_sentences(language, code) for code in (language, "en")]
    if len(tables[0]) != len(tables[1]):
        raise ValueError(
            f"tatoeba/{language}: {len(tables[0])} sentences of {language} and {len(tables[1])} of en; "
            "line n of one must translate line n of the other"
        )
    sentences = pd.concat(tables, ignore_index=True)
    translations = pd.concat(tables[::-1], ignore_index=True)
    return RetrievalTask(
        sentences.rename(columns={"id": "query_id"}),
        sentences.rename(columns={"id": "passage_id"}),
        pd.DataFrame({"query_id": sentences.id, "passage_id": translations.id, "relevance": 1}),
        settings=("cross-lingual",),
    )


def _sentences(pair: str, language: str) -> pd.DataFrame:
    """One side of a pair: `id`, `language`, `text` and `question`, which names the line."""
    path = _path(pair, language)
    texts = []
    # Not splitlines, which also breaks at characters that are part of a sentence.
    for number, line in enumerate(path.read_bytes().removesuffix(b"\n").split(b"\n"), start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number}: not UTF-8: {error}") from error
        if not text.strip():
            raise ValueError(f"{path}, line {number}: the sentence is empty")
        texts.append(text)
    lines = [str(number) for number in range(1, len(texts) + 1)]
    return pd.DataFrame(
        {
            "id": [f"{pair}-en:{language}:{line}" for line in lines],
            "language": language,
            "text": texts,
            "question": [f"{pair}-en:{line}" for line in lines],
        }
    )


def _path(pair: str, language: str) -> Path:
    code = LANGUAGES[pair]
    name = f"tatoeba/tatoeba.{code}-eng.{'eng' if language == 'en' else code}"
    return fetch(next(file for file in SOURCES[0].files if file.path == name), "tatoeba")
