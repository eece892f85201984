"""The lab's certificate authority, and the TLS contexts of links.

Every server application has a certificate whose common name is its application name and whose organisational
unit is its application type. A production site brings its own authority; only the files matter.
"""

import datetime
import functools
import ipaddress
import os
import shutil
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stayline.link.tls_sessions import ReusingContext

CA_CERTIFICATE = "ca.pem"
CA_KEY = "ca.key"
_CA_DAYS = 3_650
_LEAF_DAYS = 1_825


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of the authority's certificate and, for a server, of its own certificate and key."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None


def tls_files(directory: str | Path, application: str = "") -> TlsFiles:
    """The files of ``application`` in a certificates folder; without a name: of a person's application (CA only)."""
    folder = Path(directory)
    if not application:
        return TlsFiles(folder / CA_CERTIFICATE)
    return TlsFiles(folder / CA_CERTIFICATE, folder / f"{application}.pem", folder / f"{application}.key")


@functools.lru_cache(maxsize=64)
def server_context(tls: TlsFiles) -> ssl.SSLContext:
    """Context of a listener: TLS 1.3, a client certificate is checked when one is shown. Cached."""
    if tls.cert is None or tls.key is None:
        raise ValueError("a listener needs a certificate and its key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(tls.cert, tls.key)
    context.load_verify_locations(tls.ca)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@functools.lru_cache(maxsize=64)
def client_context(tls: TlsFiles) -> ssl.SSLContext:
    """Context of an opener. The handshake checks the certificate's name against the application's. Cached, also because
    it remembers the TLS sessions of its connections."""
    context = ReusingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tls.ca)
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context


def create_authority(directory: str | Path) -> None:
    """Make ``ca.pem`` and ``ca.key`` in ``directory``, unless they exist."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CA_CERTIFICATE).exists() and (folder / CA_KEY).exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stayline authority")])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _validity(_CA_DAYS)
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    _write_private(folder / CA_KEY, key)
    certificate = builder.sign(key, hashes.SHA256())
    (folder / CA_CERTIFICATE).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def issue(
    directory: str | Path,
    application: str,
    app_type: str,
    hosts: Sequence[str],
    *,
    into: str | Path | None = None,
) -> TlsFiles:
    """Make certificate and key of ``application``, signed by the authority in ``directory``.

    Written to ``into`` (default: ``directory``), with a copy of ``ca.pem``. An existing one is replaced.
    """
    folder = Path(directory)
    target = Path(into) if into is not None else folder
    target.mkdir(parents=True, exist_ok=True)
    files = tls_files(target, application)
    authority = x509.load_pem_x509_certificate((folder / CA_CERTIFICATE).read_bytes())
    signer = serialization.load_pem_private_key((folder / CA_KEY).read_bytes(), password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [
        x509.NameAttribute(NameOID.COMMON_NAME, application),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, app_type),
    ]
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _validity(_LEAF_DAYS)
        .subject_name(x509.Name(subject))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if hosts:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False
        )
    assert files.cert is not None
    assert files.key is not None
    _write_private(files.key, key)
    files.cert.write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    if target.resolve() != folder.resolve():
        shutil.copyfile(folder / CA_CERTIFICATE, files.ca)
    return files


def _validity(days: int) -> x509.CertificateBuilder:
    """A builder valid from an hour ago (clocks differ) for ``days``."""
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_private(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
