"""Signatures in minisign's format, beside the file: `minisign -V -p KEY.pub -m FILE` accepts them, and the other way.

The signature is of the file's BLAKE2b hash (minisign's default), and covers its trusted comment too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType

from jetseg.errors import ArtifactError, ConfigError, import_optional
from jetseg.storage import check_room, sha256_file, storage_error, write_bytes
from jetseg.trust import read_user_settings

KEY_VARIABLE = "JETSEG_KEY"
"""Environment variable with the place of a public key: what it did not sign is refused."""
MAX_KIT_BYTES = (4 << 30) - 1
"""Of a kit, packed and unpacked; a zip file of more needs another directory, which is refused."""
_MOST_BYTES = 16 << 10
"""Of a key or a signature; minisign's comments end at 8 KiB."""


def signature_path(file: Path) -> Path:
    """Returns the place of a file's signature."""
    return file.with_name(f"{file.name}.minisig")


def key_in_force(given: Path | str | None) -> Path | None:
    """Returns the public key that files must be signed with.

    It is the one that is given, else that of the environment, else that of the user's settings.
    """
    named = given or os.environ.get(KEY_VARIABLE) or read_user_settings().trusted_key
    return Path(named).expanduser() if named else None


def sign_file(file: Path, key: Path, password: Callable[[], str]) -> Path:
    """Signs a file; returns the signature's place.

    The trusted comment says what was signed and when: the file's name, its SHA-256 and the time.

    Args:
        file: What to sign.
        key: Private key of minisign; it is read here and nowhere else.
        password: Called if the key is encrypted.

    Raises:
        ConfigError: The file is no private key, or the password is another one.
    """
    minisign = _minisign()
    now = datetime.now(timezone.utc)
    name = file.name.encode("ascii", "backslashreplace").decode()
    comment = (
        f"timestamp:{int(now.timestamp())}\tfile:{name}\thashed\tsha256:{sha256_file(file)}"
        f"\tdate:{now.isoformat(timespec='seconds')}"
    )
    try:
        with minisign.SecretKey.from_bytes(_read_small(key, "private key")) as secret, file.open("rb") as stream:
            if secret.is_encrypted():
                secret.decrypt(password())
            signature = secret.sign(stream, trusted_comment=comment, untrusted_comment="signature of jetseg")
    except minisign.ParseError as error:
        raise ConfigError(f"{key} is no private key of minisign: {error}.", "Make one with `minisign -G`.") from error
    except minisign.Error as error:
        raise ConfigError(f"{key} cannot be used: {error}.", "Give its password again.") from error
    write_bytes(signature_path(file), bytes(signature) + b"\n")
    return signature_path(file)


def check_signature(file: Path, key: Path, *, shown: Path | None = None) -> str:
    """Refuses a file that is not signed with a key; returns the trusted comment.

    Args:
        file: The file; its signature is beside it.
        key: Public key of minisign.
        shown: Name of the file for messages, where a copy of it is checked.

    Raises:
        ArtifactError: There is no signature, it is another key's, or the file was changed since.
        ConfigError: The key is no public key.
    """
    minisign, name = _minisign(), shown or file
    try:
        public = minisign.PublicKey.from_bytes(_read_small(key, "public key"))
    except minisign.Error as error:
        raise ConfigError(f"{key} is no public key of minisign: {error}.", "Give the .pub file.") from error
    if not signature_path(file).is_file():
        raise ArtifactError(
            f"{name} is not signed: {signature_path(name)} does not exist.",
            "Sign it where it was made, with `jetseg sign`, and copy the signature with it.",
        )
    try:
        signature = minisign.Signature.from_bytes(_read_small(signature_path(file), "signature"))
        if not signature.is_prehashed():  # the old form would have the whole file in memory
            raise minisign.ParseError("it is of minisign's old form, which signs no hash")
        with file.open("rb") as stream:
            public.verify(stream, signature)
    except minisign.Error as error:
        raise ArtifactError(
            f"{name} is not what the owner of {key.name} signed: {error}.",
            "Do not use it. Copy both files again, or have it signed with this key.",
        ) from error
    comment: str = signature.trusted_comment
    return comment


def copy_signed(file: Path, folder: Path) -> Path:
    """Copies a file and its signature, if it has one, into a folder; returns the copy's place.

    Raises:
        ArtifactError: The file does not exist, or one of them is too large to be what it should be.
        StorageError: The disk has too little room.
    """
    if not file.is_file():
        raise ArtifactError(f"{file} does not exist.", "Check the path.")
    copy = folder / file.name
    _copy(file, copy, MAX_KIT_BYTES)
    if signature_path(file).is_file():
        _copy(signature_path(file), signature_path(copy), _MOST_BYTES)
    return copy


def _copy(source: Path, target: Path, most: int) -> None:
    """Copies a file of at most that many bytes: whoever is not known yet must not fill the disk."""
    with source.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            raise ArtifactError(
                f"{source} has {size / 1e6:,.1f} MB, and {most / 1e6:,.2f} MB are the most.", "Do not use it."
            )
        check_room(source, target.parent, size)
        try:
            with target.open("xb") as copied:
                while size > 0 and (block := stream.read(min(size, 1 << 20))):
                    size -= copied.write(block)
        except OSError as error:
            raise storage_error(target, error) from error


def _minisign() -> ModuleType:
    return import_optional("minisign", "py-minisign", "deploy", "signs files and checks signatures")


def _read_small(path: Path, what: str) -> bytes:
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; it should be a {what}.", "Check the path.")
    with path.open("rb") as stream:
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{path} is too long for a {what}.", "Check the path.")
    return content
