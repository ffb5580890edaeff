"""`jetseg sign`: a signature beside a kit or an engine, where the private key is."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from jetseg.cli import options
from jetseg.cli.output import print_json, print_lines

PASSWORD_VARIABLE = "JETSEG_KEY_PASSWORD"


def sign(
    file: Annotated[Path, typer.Argument(help="Kit, or a network with its manifest.")],
    key: Annotated[Path, typer.Option("--sign", metavar="KEY", help="Private key of minisign.")],
    as_json: options.AsJson = False,
) -> None:
    """Signs a kit, or a network with its manifest, in minisign's format; `minisign -V` accepts it.

    The private key stays where signatures are made: no verb of the vehicle takes one. Of a network it is the manifest
    that is signed, which holds the network's SHA-256. The key's password is asked for, or taken from
    JETSEG_KEY_PASSWORD.

    Examples:

        minisign -G -p fleet.pub -s fleet.key

        jetseg sign student.kit.zip --sign fleet.key

        jetseg sign engines/student.int8.onnx --sign fleet.key
    """
    from jetseg.errors import ArtifactError
    from jetseg.kit.signature import sign_file
    from jetseg.kit.signed import signed_part

    if not file.is_file():
        raise ArtifactError(f"{file} does not exist.", "Check the path.")
    part = signed_part(file)
    place = sign_file(part, key, ask_password)
    if as_json:
        print_json({"signed": str(part), "signature": str(place)})
    else:
        print_lines(f"{part} is signed: {place}")


def ask_password() -> str:
    """Returns the password of an encrypted key, which is shown nowhere.

    Raises:
        ConfigError: There is nobody to ask.
    """
    from jetseg.errors import ConfigError

    known = os.environ.get(PASSWORD_VARIABLE)
    if known is not None:
        return known
    if not sys.stdin.isatty():
        raise ConfigError("The private key has a password.", f"Set {PASSWORD_VARIABLE}, or sign in a terminal.")
    return getpass.getpass("Password of the private key: ")
