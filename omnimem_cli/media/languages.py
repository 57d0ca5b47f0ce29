"""Language tags as containers write them: ISO 639-2 in its two variants, and the two-letter ISO 639-1.

Knows the codes of widely spoken languages; any other tag matches itself alone.
"""

# two-letter, terminological and bibliographic three-letter codes of one language
_CODES = """
ar ara,bg bul,bn ben,ca cat,cs ces cze,da dan,de deu ger,el ell gre,en eng,es spa,et est,eu eus baq,
fa fas per,fi fin,fr fra fre,ga gle,gl glg,he heb,hi hin,hr hrv,hu hun,hy hye arm,id ind,is isl ice,it ita,
ja jpn,ka kat geo,kk kaz,ko kor,lt lit,lv lav,mk mkd mac,ms msa may,my mya bur,nb nob,nl nld dut,no nor,
pl pol,pt por,ro ron rum,ru rus,sk slk slo,sl slv,sq sqi alb,sr srp,sv swe,sw swa,ta tam,te tel,th tha,
tr tur,uk ukr,ur urd,vi vie,zh zho chi
"""
_GROUP = {code: group.split()[0] for group in _CODES.replace("\n", "").split(",") for code in group.split()}


def same_language(one: str, other: str) -> bool:
    """Whether two tags name the same language: ``ja`` and ``jpn``, ``ger`` and ``deu``, ``pt-BR`` and ``por``."""
    return _primary(one) == _primary(other)


def _primary(tag: str) -> str:
    code = tag.lower().replace("_", "-").partition("-")[0]
    return _GROUP.get(code, code)
