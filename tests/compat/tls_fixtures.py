"""Certificates and stores for tls.py, made at run time by openssl and keytool: none of them is in the repository."""

import base64
import pathlib
import subprocess

PASSWORD = "pass word#1"
# Stores of the server's certificate and key, and of the authority that clients are checked against.
KEY_STORES = ["pem", "pem-encrypted", "pkcs12-openssl", "pkcs12-keytool", "jks"]
TRUST_STORES = ["pem", "pkcs12", "jks"]
# How `openssl pkcs8` encrypts a key: Java 17 does not read what it does by default from PEM.
CIPHERS = {"java": ["-v1", "PBE-SHA1-3DES"], "default": ["-v2", "aes-256-cbc"], "scrypt": ["-scrypt"]}


def run(*words, stdin=None):
    done = subprocess.run([str(word) for word in words], input=stdin, capture_output=True, text=isinstance(stdin, str) or stdin is None)
    if done.returncode != 0:
        raise RuntimeError(f"{words}: {done.stdout}{done.stderr}")
    return done.stdout


class Der:
    """As much of DER as a certificate with an odd subject takes."""

    @staticmethod
    def value(tag, *parts):
        body = b"".join(parts)
        length = len(body)
        if length < 128:
            return bytes([tag, length]) + body
        size = (length.bit_length() + 7) // 8
        return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + body

    @staticmethod
    def oid(text):
        first, second, *rest = map(int, text.split("."))
        out = b""
        for number in (first * 40 + second, *rest):
            part = bytes([number & 0x7F])
            while number := number >> 7:
                part = bytes([0x80 | number & 0x7F]) + part
            out += part
        return Der.value(0x06, out)

    @staticmethod
    def name(rdns):
        """A name of parts, each a list of type, tag and bytes."""
        def attribute(kind, tag, value):
            return Der.value(0x30, Der.oid(kind), Der.value(tag, value))
        return Der.value(0x30, *(Der.value(0x31, *(attribute(*each) for each in rdn)) for rdn in rdns))


class Identity:
    """A certificate with its key, each a file in PEM, and the certificates that lead to its authority."""

    def __init__(self, folder, name, chain=()):
        self.certificate, self.key = folder / f"{name}.crt", folder / f"{name}.key"
        self.chain = chain

    def text(self):
        return self.certificate.read_text() + "".join(other.certificate.read_text() for other in self.chain)


class Fixtures:
    """All files, made once. `folder` is theirs alone."""

    def __init__(self, folder):
        self.folder = folder
        self.serial = 1000
        self.ca = self.self_signed("ca", "/O=zkfast test/CN=authority")
        self.other_ca = self.self_signed("other-ca", "/O=zkfast test/CN=another authority")
        self.server = self.signed("server", "/O=zkfast test/CN=localhost", self.ca, names="DNS:localhost,IP:127.0.0.1")
        self.client = self.signed("client", "/DC=org/O=zkfast test/OU=a, b/CN=client 1", self.ca)
        self.admin = self.signed("admin", "/O=zkfast test/CN=admin", self.ca)

    def path(self, name):
        return self.folder / name

    def key(self, name, kind="rsa"):
        path = self.path(f"{name}.key")
        algorithm = {
            "rsa": ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            "rsa1024": ["RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
            "rsa4096": ["RSA", "-pkeyopt", "rsa_keygen_bits:4096"],
            "p256": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            "p384": ["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
            "p521": ["EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
            "ed25519": ["ED25519"],
        }[kind]
        run("openssl", "genpkey", "-algorithm", *algorithm, "-out", path)
        return path

    def self_signed(self, name, subject, is_authority=True, days=30):
        identity = Identity(self.folder, name)
        self.key(name)
        # The machine's own settings would make each of them an authority.
        settings = self.path("openssl.cnf")
        settings.write_text("[req]\ndistinguished_name=dn\n[dn]\n")
        run(
            "openssl", "req", "-config", settings, "-x509", "-new", "-utf8", "-key", identity.key, "-subj", subject, "-days", days,
            "-addext", f"basicConstraints=critical,CA:{'TRUE' if is_authority else 'FALSE'}", "-out", identity.certificate,
        )  # fmt: skip
        return identity

    def signed(self, name, subject, by, names="", kind="rsa", days=30, extensions="basicConstraints=CA:FALSE\n"):
        """A certificate that `by` has signed; it is over already where `days` is negative."""
        identity = Identity(self.folder, name, (by, *by.chain) if by.chain else ())
        self.key(name, kind)
        request, extra = self.path(f"{name}.csr"), self.path(f"{name}.ext")
        extra.write_text((f"subjectAltName={names}\n" if names else "") + extensions)
        run("openssl", "req", "-new", "-utf8", "-key", identity.key, "-subj", subject, "-out", request)
        self.serial += 1
        run(
            "openssl", "x509", "-req", "-in", request, "-CA", by.certificate, "-CAkey", by.key, "-set_serial", self.serial,
            "-days", days, "-extfile", extra, "-out", identity.certificate,
        )  # fmt: skip
        return identity

    def of_subject(self, name, subject):
        """A certificate of the authority for a subject in DER."""
        identity = Identity(self.folder, name)
        identity.key = self.client.key
        self.serial += 1
        algorithm = Der.value(0x30, Der.oid("1.2.840.113549.1.1.11"), Der.value(0x05))
        issuer = Der.name([[("2.5.4.10", 0x0C, b"zkfast test")], [("2.5.4.3", 0x0C, b"authority")]])
        times = Der.value(0x30, Der.value(0x17, b"200101000000Z"), Der.value(0x17, b"491231000000Z"))
        public = subprocess.run(
            ["openssl", "pkey", "-in", identity.key, "-pubout", "-outform", "DER"], capture_output=True, check=True
        ).stdout
        version = Der.value(0xA0, Der.value(0x02, b"\2"))
        serial = Der.value(0x02, self.serial.to_bytes(4, "big"))
        body = Der.value(0x30, version, serial, algorithm, issuer, times, subject, public)
        unsigned = self.path(f"{name}.tbs")
        unsigned.write_bytes(body)
        sealed = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.ca.key, unsigned], capture_output=True, check=True
        ).stdout
        der = Der.value(0x30, body, algorithm, Der.value(0x03, b"\0", sealed))
        # Not by openssl, which does not read all of them.
        lines = base64.encodebytes(der).decode()
        identity.certificate.write_text(f"-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
        return identity

    def pem(self, name, identity, encrypted=""):
        path = self.path(f"{name}.pem")
        key = identity.key
        if encrypted:
            key = self.path(f"{name}.enc")
            run("openssl", "pkcs8", "-topk8", *CIPHERS[encrypted], "-in", identity.key, "-out", key,
                "-passout", f"pass:{PASSWORD}")  # fmt: skip
        path.write_text(key.read_text() + identity.text())
        return path

    def pkcs12(self, name, identity):
        path = self.path(f"{name}.p12")
        words = ["openssl", "pkcs12", "-export", "-in", identity.certificate, "-inkey", identity.key, "-out", path]
        if identity.chain:
            chain = self.path(f"{name}.chain")
            chain.write_text("".join(other.certificate.read_text() for other in identity.chain))
            words += ["-certfile", chain]
        run(*words, "-name", "zkfast", "-passout", f"pass:{PASSWORD}")
        return path

    def keytool(self, name, identity, kind):
        """The same by keytool."""
        path = self.path(name + {"PKCS12": "-keytool.p12", "JKS": ".jks"}[kind])
        run("keytool", "-importkeystore", "-srckeystore", self.pkcs12(f"{name}-from", identity), "-srcstoretype", "PKCS12",
            "-srcstorepass", PASSWORD, "-destkeystore", path, "-deststoretype", kind, "-deststorepass", PASSWORD,
            "-noprompt")  # fmt: skip
        return path

    def trust(self, name, certificate, kind):
        path = self.path(name + {"PKCS12": "-trust.p12", "JKS": "-trust.jks"}[kind])
        run("keytool", "-importcert", "-alias", name, "-file", certificate, "-keystore", path, "-storetype", kind,
            "-storepass", PASSWORD, "-noprompt")  # fmt: skip
        return path

    def key_store(self, kind, identity=None, name="server"):
        """Keys of zoo.cfg for one of KEY_STORES."""
        identity = identity or self.server
        path = {
            "pem": lambda: self.pem(name, identity),
            "pem-encrypted": lambda: self.pem(f"{name}-encrypted", identity, encrypted="java"),
            "pkcs12-openssl": lambda: self.pkcs12(name, identity),
            "pkcs12-keytool": lambda: self.keytool(name, identity, "PKCS12"),
            "jks": lambda: self.keytool(name, identity, "JKS"),
        }[kind]
        path = self.once(f"{name} {kind}", path)
        keys = {"ssl.keyStore.location": path}
        if kind != "pem":
            keys["ssl.keyStore.password"] = PASSWORD
        return keys

    def trust_store(self, kind, certificate=None, name="ca"):
        """Keys of zoo.cfg for one of TRUST_STORES."""
        certificate = certificate or self.ca.certificate
        if kind == "pem":
            path = self.path(f"{name}-trust.pem")
            path.write_text(pathlib.Path(certificate).read_text())
            return {"ssl.trustStore.location": path}
        path = self.once(f"trust {name} {kind}", lambda: self.trust(name, certificate, kind.upper()))
        return {"ssl.trustStore.location": path, "ssl.trustStore.password": PASSWORD}

    def once(self, name, make):
        made = self.__dict__.setdefault("made", {})
        if name not in made:
            made[name] = make()
        return made[name]
