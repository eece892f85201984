"""Certificates and signing keys of fake sites: made once, used by every case of a run."""

import shutil
from pathlib import Path

from stayline.conformance.fake_port import HOST
from stayline.domain.objects import ApplicationType
from stayline.link.authority import CA_CERTIFICATE, TlsFiles, create_authority, issue
from stayline.link.bootstrap import Bootstrap, Node, save_bootstrap
from stayline.link.tokens import VERIFY_KEY, TokenSigner, TokenVerifier, create_signing_keys


class Credentials:
    """Made in ``folder``. ``signer`` signs as this centre does, ``forger`` as somebody else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._certificates = folder / "certificates"
        self._public = folder / "public"
        self._files: dict[str, TlsFiles] = {}
        create_authority(self._certificates)
        for keys in ("keys", "other-keys"):
            create_signing_keys(folder / keys)
        self.signer = TokenSigner.load(folder / "keys")
        self.verifier = TokenVerifier.load(folder / "keys")
        self.forger = TokenSigner.load(folder / "other-keys")
        # What a client may know: the authority's certificate and the verify key, no private half of anything.
        self._public.mkdir(exist_ok=True)
        shutil.copyfile(self._certificates / CA_CERTIFICATE, self._public / CA_CERTIFICATE)
        shutil.copyfile(folder / "keys" / VERIFY_KEY, self._public / VERIFY_KEY)

    def of(self, application: str, app_type: ApplicationType) -> TlsFiles:
        """Certificate and key of a server."""
        if application not in self._files:
            self._files[application] = issue(self._certificates, application, app_type.value, [HOST])
        return self._files[application]

    def bootstrap(self, path: Path, configuration: list[tuple[str, int]]) -> Bootstrap:
        """Write the file by which a client finds the Configuration Servers (names and ports)."""
        made = Bootstrap(
            site="",
            host="agent-desk",
            state=str(path.parent),
            configuration=[Node(application=name, host=HOST, port=port) for name, port in configuration],
            certificates=str(self._public),
            keys=str(self._public),
            log_dir=str(path.parent),
        )
        save_bootstrap(path, made)
        return made
