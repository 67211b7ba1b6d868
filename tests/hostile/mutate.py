"""Strategies that damage what is valid: bytes, trees of YAML or JSON, archives and stores."""

import datetime
import io
import json
import zipfile

from hypothesis import strategies as st


def _is_key(value):
    return isinstance(value, str | int | float | bool | type(None))


#: What readers stumble over, where a plain value is expected.
ODD = st.sampled_from(
    [
        None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, -(10**400), 0.5, -0.0, 1e308, float("inf"), float("nan"),
        "", " ", ".", "..", "../../x", "/etc/passwd", "/dev/null", "a\0b", "a\nb", "\u202eevil", "\x1b[2J", "=1+1",
        "<script>", "os:system", "own_code:Own", "http://evil.example", "null", "NaN", "X", "x" * 5000,
        datetime.date(2020, 1, 1),
        datetime.datetime(2020, 1, 1, 12), b"\xff\x00", [], {}, [[]], {"": None}, {1: 2}, ["a", "a"],
    ]
)  # fmt: skip
TREES = st.recursive(
    ODD | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | ODD.filter(_is_key), inner, max_size=4)
    ),
    max_leaves=12,
)


def places(tree, way=()):
    """Yield the way to every node of a tree."""
    yield way
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from places(value, (*way, key))
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from places(value, (*way, i))


def replaced(tree, way, change):
    """Return a tree in which the node at the end of a way is `change` of what it was."""
    if not way:
        return change(tree)
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[way[0]] = replaced(tree[way[0]], way[1:], change)
    return copy


@st.composite
def trees(draw, valid):
    """Draw a tree that was valid before one to three of its nodes were replaced, left out, renamed or joined."""
    tree = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from(list(places(tree))))
        match draw(st.sampled_from(["replace", "drop", "rename", "add", "wrap"])):
            case "replace":
                new = draw(TREES)
                tree = replaced(tree, way, lambda _, new=new: new)
            case "wrap":
                tree = replaced(tree, way, lambda old: [old])
            case kind:
                key, value = draw(st.text(max_size=8)), draw(TREES)
                tree = replaced(tree, way, lambda old, k=kind, key=key, value=value: _keyed(old, k, key, value))
    return tree


def _keyed(old, kind, key, value):
    if not isinstance(old, dict) or not (old or kind == "add"):
        return old
    if kind == "add":
        return {**old, key: value}
    first = next(iter(old))
    rest = {k: v for k, v in old.items() if k != first}
    return rest if kind == "drop" else {**rest, key: old[first]}


@st.composite
def damaged(draw, content):
    """Draw bytes that were valid before one to eight places were flipped, cut, doubled or overwritten."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        if not found:
            break
        at = draw(st.integers(0, len(found) - 1))
        match draw(st.sampled_from(["flip", "byte", "word", "cut", "remove", "double", "text"])):
            case "flip":
                found[at] ^= 1 << draw(st.integers(0, 7))
            case "byte":
                found[at] = draw(st.integers(0, 255))
            case "word":
                found[at : at + 8] = draw(
                    st.sampled_from([b"\xff" * 8, bytes(8), b"\x7f" + b"\xff" * 7, b"\0\0\0\x80" * 2])
                )
            case "cut":
                del found[at:]
            case "remove":
                del found[at : at + draw(st.integers(1, 64))]
            case "double":
                found[at:at] = found[at : at + draw(st.integers(1, 64))]
            case "text":
                found[at:at] = draw(st.text(max_size=6)).encode("utf-8", "surrogatepass")
    return bytes(found)


@st.composite
def archives(draw, content):
    """Draw an archive of which one member was damaged, with checksums that fit."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from(sorted(members)))
    members[name] = draw(damaged(members[name]))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for each, data in members.items():
            archive.writestr(each, data)
    return stream.getvalue()


@st.composite
def stores(draw, files):
    """Draw the files of a store, path -> bytes, of which one was damaged: metadata as a tree, values as bytes."""
    name = draw(st.sampled_from(sorted(files)))
    try:
        about = json.loads(files[name])
    except ValueError:
        return {**files, name: draw(damaged(files[name]))}
    changed = draw(trees([about]))
    return {**files, name: json.dumps(changed, default=str, skipkeys=True).encode("utf-8", "replace")}
