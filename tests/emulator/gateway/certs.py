# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's PKI on disk (`generate-certs`), and the certificates its sandboxes' proxies show to the workload."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import secrets

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import Failure, NotRecorded

FILES = ("ca.crt", "ca.key", "server/tls.crt", "server/tls.key", "client/tls.crt", "client/tls.key")
JWT_FILES = ("jwt/signing.pem", "jwt/public.pem", "jwt/kid")
BUILTIN_SANS = (
    "openshell",
    "openshell.openshell.svc",
    "openshell.openshell.svc.cluster.local",
    "localhost",
    "openshell.localhost",
    "*.openshell.localhost",
    "host.docker.internal",
    "host.containers.internal",
    "127.0.0.1",
    "::1",
)
VALID = datetime.datetime(1975, 1, 1), datetime.datetime(4096, 1, 1)


def _name(common):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "openshell"), x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general(san):
    try:
        return x509.IPAddress(ipaddress.ip_address(san))
    except ValueError:
        return x509.DNSName(san)


def pem(item):
    if isinstance(item, x509.Certificate):
        return item.public_bytes(serialization.Encoding.PEM)
    return item.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def authority(common):
    """(key, self-signed CA certificate)"""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(common), _name(common), key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True)
    return key, builder.sign(key, hashes.SHA256())


def leaf(ca_key, ca, common, sans=(), client=False):
    """(key, certificate) for a server with `sans`, or for a client."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(common), ca.subject, key.public_key())
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    # the authority's own word for its key: the real gateway's is not the usual digest of it
    issuer = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(san) for san in sans]), critical=False)
    return key, builder.sign(ca_key, hashes.SHA256())


def _builder(subject, issuer, public_key):
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(VALID[0])
        .not_valid_after(VALID[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def load_authority(ca_pem, key_pem):
    return serialization.load_pem_private_key(key_pem, None), x509.load_pem_x509_certificate(ca_pem)


def generate(directory, sans):
    """Make or complete the PKI in `directory`; returns the sentence that is logged, with its fields."""
    present = [name for name in FILES + JWT_FILES if os.path.exists(os.path.join(directory, name))]
    some_jwt = set(JWT_FILES) & set(present)
    if present and not (set(FILES) <= set(present) and some_jwt in (set(), set(JWT_FILES))):
        raise Failure(
            f"partial PKI state in {directory}: some files exist but not all. Recover with: rm -rf {directory} (the gateway will regenerate on next start)"
        )
    wanted = [*BUILTIN_SANS, *(san for san in sans if san not in BUILTIN_SANS)]
    if not present:
        _tls(directory, wanted)
        _jwt(directory)
        _bundle(directory)
        return f"PKI files created. dir={directory}"
    if not some_jwt:
        _jwt(directory)
        _bundle(directory)
        return f"JWT signing files created for existing TLS install. dir={directory}"
    has = server_sans(directory)
    lacking = [san for san in wanted if san not in has]
    if lacking:
        _tls(directory, wanted)
    _bundle(directory)
    if not lacking:
        return f"PKI files already exist, skipping. dir={directory}"
    return f"server TLS certificate refreshed for current SAN set. dir={directory} missing_sans={','.join(lacking)}"


def server_sans(directory):
    data = _read(directory, "server/tls.crt")
    if b"-----BEGIN" not in data or b"-----END" not in data:
        problem = "IncompletePEM" if b"-----BEGIN" in data else "MissingHeader"
        raise Failure(f"failed to parse server certificate PEM {directory}/server/tls.crt: Error({problem})")
    certificate = x509.load_pem_x509_certificate(data)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def signer(settings):
    """Digest of the key that signs the sandboxes' tokens (section gateway_jwt); a token signed by another one is refused."""
    try:
        with open(settings["signing_key_path"], "rb") as file:
            key = file.read()
        with open(settings["kid_path"], "rb") as file:
            kid = file.read()
    except OSError as error:
        raise NotRecorded(f"gateway_jwt without {error.filename}") from None
    try:
        serialization.load_pem_private_key(key, None)
    except ValueError:
        raise Failure("configuration error: failed to parse Ed25519 signing key PEM: InvalidKeyFormat") from None
    if not kid.strip():
        raise Failure(f"configuration error: sandbox JWT kid file {settings['kid_path']} is empty")
    return hashlib.sha256(key).hexdigest()


def _tls(directory, sans):
    """A whole new set, with an authority of its own."""
    ca_key, ca = authority("openshell-ca")
    _write(directory, "ca.key", pem(ca_key))
    _write(directory, "ca.crt", pem(ca), 0o644)
    for kind, of in (("server", {"sans": sans}), ("client", {"client": True})):
        key, certificate = leaf(ca_key, ca, f"openshell-{kind}", **of)
        _write(directory, f"{kind}/tls.key", pem(key))
        _write(directory, f"{kind}/tls.crt", pem(certificate), 0o644)


def _jwt(directory):
    key = ed25519.Ed25519PrivateKey.generate()
    _write(directory, "jwt/signing.pem", pem(key))
    _write(
        directory,
        "jwt/public.pem",
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        0o644,
    )
    _write(directory, "jwt/kid", secrets.token_hex(16).encode(), 0o644)


def _bundle(directory):
    """The client's files where the command line looks for those of the gateway named `openshell`."""
    from ..cli.registration import config_home

    home = os.path.join(config_home(), "gateways", "openshell", "mtls")
    for source, name, mode in (("ca.crt", "ca.crt", 0o644), ("client/tls.crt", "tls.crt", 0o644), ("client/tls.key", "tls.key", 0o600)):
        if not os.path.exists(os.path.join(home, name)) or _read(home, name) != _read(directory, source):
            _write(home, name, _read(directory, source), mode)


def _read(directory, name):
    with open(os.path.join(directory, name), "rb") as file:
        return file.read()


def _write(directory, name, data, mode=0o600):
    path = os.path.join(directory, name)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
    if mode == 0o600:
        os.chmod(path, mode)
