"""Encodings of tables: marked, UTF-8, or guessed and said so."""

import pytest

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts import ReadOptions, read_posts
from mvsa_pipe.posts.tables.encodings import decode_table


def table(*texts):
    return "id,text\n" + "".join(f"{at},{text}\n" for at, text in enumerate(texts))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-be"]
)
def test_unicode(encoding):
    text = table("señor 你好 😀")
    decoded = decode_table(text.encode(encoding), "t")
    assert decoded.text == text
    assert bool(decoded.finding) == encoding.endswith("e")  # without a mark


def test_utf16_with_the_mark_of_the_other_byte_order():
    data = b"\xfe\xff" + table("ñ").encode("utf-16-be")
    assert decode_table(data, "t").text == table("ñ")


@pytest.mark.parametrize(
    "text",
    [
        "señor",
        "ñ",
        "el señor número está feliz por el resumé",
        "it’s a “quoted” word… only 5€",
        "café",
        "À bientôt, ça va être l’été à Noël",
        "Größe: 25°C, Straße, Käse",
        "¿Qué? ¡No!",
        "São Tomé",
        "AÑO PRÓXIMO",
        "£5 – ½ price ™",
        "«bonjour»",
        "1ª y 2º",
    ],
)
def test_western_letters_are_never_chinese(text):
    for around in ([], ["plain words"] * 2_000):
        decoded = decode_table(table(*around, text, *around).encode("cp1252"), "t")
        assert decoded.encoding == "cp1252"
        assert decoded.text == table(*around, text, *around)
        assert "cp1252 was taken" in decoded.finding
        assert f"line {len(around) + 2}" in decoded.finding


def test_a_finding_shows_three_lines():
    finding = decode_table(
        table("uno", "señor", "año", "niño", "caña").encode("latin-1"), "t"
    ).finding
    assert "line 3: señor; line 4: año; line 5: niño." in finding
    assert "caña" not in finding
    assert "--encoding cp1252" in finding


SENTENCES = {
    "gb18030": "今天天气真好，我们去公园散步，孩子们都很开心，大家一起吃了午饭，然后回家看电影。",
    "big5": "今天天氣真好，我們去公園散步，孩子們都很開心，大家一起吃了午飯，然後回家看電影。",
    "shift_jis": "今日はとてもいい天気ですね。私たちは公園に行って、子供たちと遊びました。",
    "euc_kr": "오늘은 날씨가 좋아서 공원에 갔습니다. 아이들이 정말 좋아했어요.",
    "cp1251": "Сегодня отличный день, мы ходили в парк. Дети были рады, а потом смотрели кино.",
    "cp1253": "καλημέρα κόσμε, σήμερα είναι μια πολύ όμορφη μέρα",
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy",
    "iso2022_jp": "今日はいい天気です",
}


@pytest.mark.parametrize("encoding", SENTENCES)
def test_other_scripts_are_guessed_and_said_so(encoding):
    text = table(SENTENCES[encoding])
    decoded = decode_table(text.encode(encoding), "t")
    assert decoded.text == text
    assert decoded.finding
    assert decode_table(text.encode(encoding), "t", encoding).finding == ""


@pytest.mark.parametrize(
    ("text", "encoding"), [("你好", "gb18030"), ("тест", "cp1251"), ("テスト", "shift_jis")]
)
def test_what_is_too_short_to_tell_is_refused_with_its_readings(text, encoding):
    with pytest.raises(DataError, match=rf"would read.*{text}.*--encoding NAME"):
        decode_table(table(text).encode(encoding), "t")


def test_utf8_with_foreign_bytes_is_not_read_as_something_else():
    data = table("señor", "niña", "año").encode() + "3,café\n".encode("cp1252")
    with pytest.raises(DataError, match=r"UTF-8 except in 1 places \(t:5\)"):
        decode_table(data, "t")


@pytest.mark.parametrize(
    ("data", "encoding", "line"),
    [
        (table("a", "señor").encode("cp1252"), "utf-8", 3),
        (table("a").encode() + b"2,\x81\n", "cp1252", 3),
        (b"\xff\xfei\0d\0\n", None, 1),
        (b"\xef\xbb\xbfid\n\xff\n", None, 2),
    ],
)
def test_bytes_that_are_none_of_the_encoding(data, encoding, line):
    with pytest.raises(DataError, match=rf"not in the encoding.*t:{line}\)"):
        decode_table(data, "t", encoding)


def test_nul_characters_are_counted():
    decoded = decode_table(b"id,text\n1,a\0b\0\n", "t")
    assert (decoded.text, decoded.nuls) == ("id,text\n1,ab\n", 2)


def test_a_guess_reaches_the_posts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("id,text,image,label\n1,señor,,x\n2,b\0,,y\n".encode("cp1252"))
    posts = read_posts(path)
    assert posts.posts[0].text == "señor"
    assert posts.notes["NUL characters removed"] == 1
    assert len(posts.findings) == 1
    assert read_posts(path, ReadOptions(encoding="latin-1")).findings == ()
