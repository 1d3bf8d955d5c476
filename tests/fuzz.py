"""Files and requests as nobody should send them, the same for the same seed."""

import io
import json
import struct
import zipfile
import zlib

import numpy as np
import pandas as pd
from PIL import Image

ENDINGS = "- .png .jpg .gif .bmp .tif .webp .mp4 .webm .avi .npy .npz .csv .parquet".replace("-", "").split(" ")
NAMES = [
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "C:\\x.png",
    "x.png/../../y",
    "%2e%2e%2f.png",
    "é" * 200,
    "💥.png",
    "",
    "a" * 4000 + ".png",
    '"; filename="b.png',
    "\r\nx-evil: 1",
    "a\0.png",
    "con",
    "-rf",
    "\ud800",
]
PATHS = [
    b"/api/v1/models/../../etc/passwd",
    b"/page/../api.py",
    b"/page/%2e%2e/api.py",
    b"/page//etc/passwd",
    b"//",
    b"*",
    b"/api/v1/models/0123456789abcdef/tables/../../run.json",
    b"/api/v1/studies/%ff%fe/report.html",
    b"/\xff\xfe",
    b"",
    b"/api/v1/jobs/" + b"a" * 5000,
    b"/api/v1/jobs/%00",
    b"/api/v2/models",
    b"/openapi.json/..",
    b"/page/\xe2\x80\xae",
]
NUMBERS = ["nan", "inf", "1e400", "-1", "0", "9" * 400, "1e-320", "0x10", "", "1;2", "٣", "true", "1_0", " 1", "-0.0"]
PNG = b"\x89PNG\r\n\x1a\n"


def pictures():
    """Give small pictures of every kind that is read."""
    random = np.random.default_rng(0)
    grey = Image.fromarray(random.integers(0, 255, (36, 30), np.uint8))
    colour = Image.fromarray(random.integers(0, 255, (36, 30, 3), np.uint8))
    deep = Image.fromarray(random.integers(0, 65535, (30, 30)).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112], exif[0x8769], exif[0x010E] = 6, {0x9000: b"0230"}, "words"
    made = [(image, "PNG", {}) for image in (grey, colour, deep, colour.convert("RGBA"), colour.convert("P"))]
    made += [(colour, kind, {}) for kind in ("BMP", "GIF", "JPEG2000", "PPM", "WEBP")]
    made += [
        (colour, "JPEG", {"exif": exif}),
        (grey, "JPEG", {"progressive": True}),
        (colour.convert("CMYK"), "JPEG", {}),
    ]
    made += [(colour, "TIFF", {"compression": "tiff_lzw"}), (deep, "TIFF", {})]
    made += [(colour, "GIF", {"save_all": True, "append_images": [grey, grey]})]
    for image, kind, options in made:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        yield buffer.getvalue()


def videos():
    """Give small videos."""
    import av

    random = np.random.default_rng(1)
    for kind, codec in (("mp4", "mpeg4"), ("webm", "libvpx"), ("avi", "mjpeg"), ("matroska", "ffv1")):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=kind) as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height = 48, 32
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for _ in range(4):
                frame = av.VideoFrame.from_ndarray(random.integers(0, 255, (32, 48, 3), np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        yield buffer.getvalue()


def numbers():
    """Give small files of numbers."""
    table = pd.DataFrame(np.random.default_rng(2).random((9, 3)), columns=["AU01_r", "AU04_r", "AU12_r"])
    text, parquet, array, archive = io.StringIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    table.to_csv(text, index=False)
    table.to_parquet(parquet)
    np.save(array, table.to_numpy())
    np.savez(archive, table.to_numpy())
    yield from (text.getvalue().encode(), parquet.getvalue(), array.getvalue(), archive.getvalue())


def png(width, height, depth, kind, data=b"", more=b""):
    """Write a PNG that says what it likes."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(more)) if more else b""
    return PNG + head + text + chunk(b"IDAT", zlib.compress(data or bytes(10**6))) + chunk(b"IEND", b"")


def npy(shape, kind="<f4", data=b""):
    """Write an array that says what it likes."""
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode() + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(head)) + head + data


def oddities():
    """Give files that were made to do harm."""
    most = 2**31 - 1
    for size in (
        (most, most, 8, 2),
        (60000, 60000, 16, 6),
        (0, 0, 8, 0),
        (1, 10**6, 1, 3),
        (9, 9, 3, 9),
        (3000, 1, 8, 3),
    ):
        yield png(*size)
    yield png(9, 9, 8, 0, more=bytes(10**8))
    for width, height in ((-9, 9), (most, -most), (0, 5)):
        yield b"BM" + struct.pack("<IIIIiiHH", 99, 0, 54, 40, width, height, 1, 24) + bytes(60)
    yield b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
    yield b"ffconcat version 1.0\nfile /etc/passwd\n"
    yield b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>'
    yield b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n"
    yield b"P6 99999999 99999999 255\n" + bytes(99)
    yield b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(20)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", npy("(50000, 1000)", data=bytes(200_000_000)))
    yield archive.getvalue()
    for shape in ("(99999999999, 999)", "(-1, 3)", "()", "(0, 3)", "'x'", "(" * 3000):
        yield npy(shape, data=bytes(40))
    yield npy("(1, 3)", "|O", b"cos\nsystem\n(S'true'\ntR.")
    for row in ("1e400,nan,inf", "9" * 5000 + ",1,2", '"' * 4001, "\0,\0,\0", "é,💥,٣", ",,", "1,2,3" + ",4" * 9000):
        yield f"AU01_r,AU04_r,AU12_r\n{row}\n".encode()
    yield from (
        b"",
        b"\0",
        b"\xff" * 70_000,
        b"\xff\xd8\xff" + bytes(5000),
        b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(99),
    )


def flipped(data, random, _others):
    for place in random.integers(0, max(1, len(data)), 1 + len(data) // 200):
        data[place : place + 1] = bytes(one ^ 1 << int(random.integers(0, 8)) for one in data[place : place + 1])


def counted(data, random, _others):
    """Write a number somewhere, of the kind that lengths and sizes are."""
    at, value = random.integers(0, len(data) + 1), int(random.choice([0, 1, 2**31, 2**32 - 1, 65536]))
    data[at : at + 4] = struct.pack(str(random.choice([">I", "<I"])), value)


def swapped(data, random, others):
    data[:24] = others[random.integers(len(others))][:24]


def spliced(data, random, others):
    other = others[random.integers(len(others))]
    data[random.integers(0, len(data) + 1) :] = other[random.integers(0, len(other) + 1) :]


def cut(data, random, _others):
    """Drop, repeat or overwrite a piece, or all from somewhere on."""
    at, span = random.integers(0, len(data) + 1), random.integers(1, max(2, len(data) // 4))
    ways = [b"", random.bytes(int(span)), data[at : at + span] * 5, bytes(span), b"\xff" * span]
    end = None if random.random() < 0.2 else at + span
    data[at:end] = ways[random.integers(len(ways))]


WAYS = [flipped, counted, swapped, spliced, cut, cut]


def mutated(data, others, random):
    """Damage a file, up to three times."""
    data = bytearray(data)
    for _ in range(random.integers(0, 4)):
        WAYS[random.integers(len(WAYS))](data, random, others)
    return bytes(data)


def uploads(count, seed):
    """Give names and contents of files."""
    random = np.random.default_rng([seed, 1])
    known, odd = [*pictures(), *videos(), *numbers()], list(oddities())
    for i in range(count):
        data = odd[i] if i < len(odd) else mutated(known[random.integers(len(known))], known, random)
        ending = str(random.choice(ENDINGS))
        name = NAMES[random.integers(len(NAMES))] + ending if random.random() < 0.3 else f"a{ending}"
        yield name, data


def form(fields, name, data, random=None):
    """Write a form of fields and a file; damaged, where there is chance."""
    said = name.encode("utf-8", "surrogatepass")
    for odd, written in ((b'"', b"%22"), (b"\r", b"%0D"), (b"\n", b"%0A")):
        said = said.replace(odd, written)
    head = b'--b\r\ncontent-disposition: form-data; name="'
    body = b"".join(head + f'{key}"\r\n\r\n{value}\r\n'.encode() for key, value in fields.items())
    body += head + b'file"; filename="' + said + b'"\r\n\r\n' + data + b"\r\n--b--\r\n"
    return body if random is None else mutated(body, [body, b"--b--", b"\r\n" * 50, b"--b\r\n" * 300], random)


METHODS = ["GET", "GET", "POST", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "PATCH", "TRACE", "x" * 300]
HEADERS = [
    *((b"host", said) for said in (b"\xff", b"[::1", b"", b"127.0.0.1:99999999", b"localhost@evil")),
    *((b"origin", said) for said in (b"null", b"http://[::1", b"\xff", b"http://127.0.0.1")),
    *((b"content-length", said) for said in (b"-1", b"9" * 5000, b"1e3", b"\xb2")),
    *(
        (b"content-type", said)
        for said in (b"multipart/form-data", b"\xff/\xfe", b"multipart/form-data; boundary=" + b"b" * 999)
    ),
    *(
        (b"cookie", b'evenface-token-8420=\xff; a="'),
        (b"authorization", b"Bearer \xff"),
        (b"range", b"bytes=-9-"),
        (b"accept", b"\0"),
    ),
]


def request(random, keys):
    """Give method, path, query, headers and body of a request."""

    def one(items):
        return items[random.integers(len(items))]

    own = [
        f"/api/v1/{kind}/{keys[0]}{end}".encode()
        for kind in ("models", "jobs", "studies")
        for end in ("", "/report.html")
    ]
    own += [b"/", b"/api/v1/about", b"/api/v1/models", b"/api/v1/predictions", b"/api/v1/comparisons", b"/page/page.js"]
    path = one(own) if random.random() < 0.6 else one(PATHS)
    if random.random() < 0.3:
        path = mutated(path, [b"/..", b"%00", b"\xff"], random)
    query = one(
        ["", f"wait={one(NUMBERS)}", "token=x", "wait=1&wait=2", "%" * 50, "a[]=" * 500, "token=" * 99]
    ).encode()
    headers = dict([(b"content-type", b"application/json"), *([one(HEADERS)] if random.random() < 0.5 else [])])
    values = [None, True, -1, 1e308, 10**300, "x" * 10_000, keys, keys * 30, [keys], {"models": keys}, [], {}, "\ud800"]
    bodies = [b"{", b"[" * 50_000, b'{"models": NaN}', b"\xff\xfe", b"", b'{"models": ["\\u0000"]}', b"1" * 9_999]
    body = one(bodies) if random.random() < 0.4 else json.dumps({"models": one(values)}).encode()
    return one(METHODS), path, query, headers, body
