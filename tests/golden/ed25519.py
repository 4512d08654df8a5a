"""Ed25519 (RFC 8032 §5.1), as the RFC describes it: slow, and for test vectors only."""
import hashlib

P = 2**255 - 19  # the field
L = 2**252 + 27742317777372353535851937790883648493  # the order of the base point
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)  # a square root of -1


def x_of(y, sign):
    """§5.1.3: the x of a point, from its y and the lowest bit of x; None if there is none."""
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


# A point is (X, Y, Z, T): x = X/Z, y = Y/Z, xy = T/Z (§5.1.4).
BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (x_of(BASE_Y, 0), BASE_Y, 1, x_of(BASE_Y, 0) * BASE_Y % P)


def add(p, q):
    """§5.1.4."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(number, point):
    out = (0, 1, 1, 0)
    while number:
        if number & 1:
            out = add(out, point)
        point = add(point, point)
        number >>= 1
    return out


def encoded(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decoded(data):
    number = int.from_bytes(data, "little")
    y, sign = number & (2**255 - 1), number >> 255
    x = x_of(y, sign) if y < P else None
    return None if x is None else (x, y, 1, x * y % P)


def hashed(data):
    return int.from_bytes(hashlib.sha512(data).digest(), "little") % L


def halves(secret):
    """§5.1.5: the secret scalar, and the prefix that makes nonces."""
    digest = hashlib.sha512(secret).digest()
    scalar = int.from_bytes(digest[:32], "little")
    return scalar & (2**254 - 8) | 2**254, digest[32:]


def public(secret):
    return encoded(times(halves(secret)[0], BASE))


def sign(secret, data):
    """§5.1.6."""
    scalar, prefix = halves(secret)
    nonce = hashed(prefix + data)
    point = encoded(times(nonce, BASE))
    return point + ((nonce + hashed(point + public(secret) + data) * scalar) % L).to_bytes(32, "little")


def verify(key, data, signature):
    """§5.1.7, without the cofactor."""
    point, holder = decoded(signature[:32]), decoded(key)
    scalar = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or point is None or holder is None or scalar >= L:
        return False
    challenge = hashed(signature[:32] + key + data)
    return encoded(times(scalar, BASE)) == encoded(add(point, times(challenge, holder)))


# §7.1, tests 1 to 3: secret key, public key, message, signature.
VECTORS = [tuple(map(bytes.fromhex, vector)) for vector in [
    ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
     "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
     "d25bf5f0595bbe24655141438e7a100b"),
    ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
     "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
     "387b2eaeb4302aeeb00d291612bb0c00"),
    ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
     "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
     "4a7c15e9716ed28dc027beceea1ec40a"),
]]
for secret, key, data, signature in VECTORS:
    assert public(secret) == key and sign(secret, data) == signature, "not RFC 8032's Ed25519"
    assert verify(key, data, signature) and not verify(key, data + b"x", signature)
